"""Which nodes of the cluster run trials: at the start of a sweep, and while nodes join, leave or fail."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from pipeline.cluster.node_check import Questions, describe, misfits
from pipeline.cluster.nodes import Node, of_one_device
from pipeline.cluster.placement import Places
from pipeline.cluster.ray_cluster import ask_nodes, live_nodes
from pipeline.config.compute import ComputeConfig
from pipeline.errors import UserError
from pipeline.hardware.device import Machine

# Between two looks at the list of nodes.
LOOK_SECONDS = 2.0
Say = Callable[[str], None]
Resources = Mapping[str, float]


def find_nodes(questions: Questions, say: Say) -> tuple[list[Node], Mapping[str, str]]:
    """Ask all nodes and say why some cannot run trials. Return those that can, and the addresses of all by their ids.

    Raises UserError if there is none, or if `compute.unfit_nodes=stop` and one cannot.
    """
    compute = questions.compute
    all_nodes = live_nodes()
    alive = {id: found for id, found in all_nodes.items() if _can_train(found[1], compute)}
    if not alive:
        raise UserError(_nothing_there(compute))
    nodes, unfit = _judged(alive, questions)
    nodes, others = of_one_device(nodes, compute.device)
    unfit |= {node.address: "it has no GPU, and others have" for node in others}
    if unfit and (compute.unfit_nodes == "stop" or not nodes):
        mend = ". Set compute.unfit_nodes=leave_out to go on without it" if nodes else ""
        raise UserError(*(f"node {address} cannot run trials: {reason}{mend}" for address, reason in unfit.items()))
    _say_unfit(unfit, say)
    return nodes, _addresses(all_nodes)


class NodeWatch:
    """Tells the places which nodes have left, and which have joined and can run trials.

    known: the addresses of the nodes that were asked before, by their ids.
    """

    def __init__(
        self, places: Places, questions: Questions, known: Mapping[str, str], lost: set[str], say: Say
    ) -> None:
        self._places, self._questions, self._lost, self._say = places, questions, lost, say
        self._known = dict(known)
        self._looked = time.monotonic()
        self._asking: Future[tuple[list[Node], dict[str, str]]] | None = None
        self._background = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> "NodeWatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Look at the cluster, unless that was a moment ago. A new node is asked in the background."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        alive = live_nodes()
        for id in self._known.keys() - alive.keys():
            address = self._known.pop(id)
            self._lost.add(id)
            self._places.remove(id)
            elsewhere = "Its trials go on elsewhere." if self._places.nodes else "The sweep waits for another node."
            self._say(f"node {address} has left the cluster. {elsewhere}")
        if self._asking and self._asking.done():
            self._admit(*self._asking.result())
            self._asking = None
        joined = {id: found for id, found in alive.items() if id not in self._known}
        if joined and not self._asking:
            self._known |= _addresses(joined)
            able = {id: found for id, found in joined.items() if _can_train(found[1], self._questions.compute)}
            self._asking = self._background.submit(_judged, able, self._questions)
        for node in self._places.newly_set_aside():
            self._say(f"node {node.address} is set aside: one trial after the other fails there at once.")

    def is_gone(self, id: str) -> bool:
        """Return whether a node has left the cluster."""
        return id in self._lost

    def _admit(self, nodes: Sequence[Node], unfit: Mapping[str, str]) -> None:
        _say_unfit(unfit, self._say)
        for node in nodes:
            if node.id in self._known:
                self._places.add(node)
                self._say(f"node {node.address} has joined the cluster and runs trials.")


def _judged(alive: Mapping[str, tuple[str, Resources]], questions: Questions) -> tuple[list[Node], dict[str, str]]:
    """Ask nodes; return those that can run trials, and for each of the others, by its address, why it cannot."""
    nodes: list[Node] = []
    unfit: dict[str, str] = {}
    for id, answer in ask_nodes(list(alive), questions).items():
        address, resources = alive[id]
        if isinstance(answer, str):
            unfit[address] = answer
            continue
        answers, seconds_ahead = answer
        reasons = misfits(answers, questions, seconds_ahead)
        if reasons:
            unfit[address] = "; ".join(reasons)
        elif answers.machine:
            machine = offered(answers.machine, resources)
            nodes.append(Node(id, address, machine, describe(address, machine, answers.disk_gb)))
    return nodes, unfit


def _addresses(nodes: Mapping[str, tuple[str, Resources]]) -> dict[str, str]:
    return {id: address for id, (address, _) in nodes.items()}


def _say_unfit(unfit: Mapping[str, str], say: Say) -> None:
    for address, reason in unfit.items():
        say(f"node {address} is left out: {reason}")


def offered(machine: Machine, resources: Resources) -> Machine:
    """Return what the cluster offers of a machine: its owner may keep cores, GPUs or memory back."""
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if machine.device == "cuda":
        return replace(machine, cores=cores, gpus=gpus, devices=machine.devices[:gpus])
    memory_gb = min(machine.memory_gb, resources.get("memory", 0.0) / 1e9)
    return replace(machine, cores=cores, memory_gb=memory_gb)


def _can_train(resources: Resources, compute: ComputeConfig) -> bool:
    """Return whether a node offers what a trial needs at least. A head node often offers nothing."""
    return resources.get("CPU", 0) >= 1 and (compute.device != "cuda" or resources.get("GPU", 0) >= 1)


def _nothing_there(compute: ComputeConfig) -> str:
    if compute.device == "cuda":
        return "compute.device=cuda: no node of the cluster offers a GPU. Add one, or set compute.device=cpu."
    return "No node of the cluster offers a core (ray start --num-cpus). Add a node."
