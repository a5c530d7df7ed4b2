"""Join a Ray cluster for a sweep: its code goes there, and its nodes are asked whether they can run trials."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.records.address import without_password
from pipeline.cluster.code_bundle import code_bundle
from pipeline.cluster.node_check import Questions
from pipeline.cluster.nodes import Node
from pipeline.config.compute import cluster_address, cluster_setting
from pipeline.config.places import stored_trials, trials_folder
from pipeline.config.schema import Config
from pipeline.processes import this_host


@dataclass(frozen=True)
class Fleet:
    """The cluster of a sweep.

    address: of its control service, HOST:PORT. nodes: those that can run trials when the sweep starts. asked: the
    addresses of all that were there then, by their ids. questions: for nodes that join later. code: the hash of the
    code that runs there.
    """

    address: str
    nodes: tuple[Node, ...]
    asked: Mapping[str, str]
    questions: Questions
    code: str


@contextmanager
def joined_fleet(config: Config, data: Path, store: str, say: Callable[[str], None]) -> Iterator[Fleet]:
    """Join the cluster of a sweep for the body. say: gets a line for each node.

    data: the folder of the prepared images. store: the address of the tracking store. Raises UserError if the cluster
    does not let this process in, or no node can run trials.
    """
    setting = cluster_setting(config.compute)
    os.environ["RAY_ADDRESS"] = cluster_address(config.compute)
    # Ray, which reads the variable when it is imported, and takes a second
    from pipeline.cluster.node_watch import find_nodes
    from pipeline.cluster.ray_cluster import joined_cluster

    stored, trials = stored_trials(config.paths), trials_folder(config.paths).absolute()
    with code_bundle() as code, joined_cluster(setting, code) as address, _mark(trials) as mark:
        questions = Questions(
            compute=config.compute,
            trials="" if stored else str(trials),
            stored=stored,
            mark=mark,
            data=str(data.absolute()),
            cache=str(Path(config.paths.cache).absolute()),
            store=without_password(store),
            host=this_host(),
        )
        nodes, asked = find_nodes(questions, say)
        for node in nodes:
            say(node.words)
        yield Fleet(address, tuple(nodes), asked, questions, code.digest)


@contextmanager
def _mark(trials: Path) -> Iterator[str]:
    """Write a file with a new name into the folder of trials for the body: a node that shares the folder sees it.

    Yields its path within the folder. It is beside the locks, where no trial's files are.
    """
    mark = f".locks/cluster-{secrets.token_hex(8)}"
    file = trials / mark
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    try:
        yield mark
    finally:
        file.unlink(missing_ok=True)
