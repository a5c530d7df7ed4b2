"""Nodes of a real Ray cluster that end, join and do not fit, and drivers that end or meet, while a sweep runs."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import RayNodes
from faults import (
    SWEEP,
    Results,
    assert_as_undisturbed,
    assert_each_trial_once,
    mlflow_server,
    results,
    start,
    trials,
    until,
)
from trial_places import AtS3, SharedFolder, at_s3

from analysis.records.names import STEPS_REPEATED
from pipeline.tracking.lease import is_leased

pytestmark = pytest.mark.cluster
FIRST, SECOND, THIRD = "127.0.0.3", "127.0.0.4", "127.0.0.5"
# Of `SWEEP`: steps between two checkpoints.
STEPS_AN_EPOCH = 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "server"
    folder.mkdir()
    with mlflow_server(folder) as (uri, _):
        yield uri


@pytest.fixture(params=["folder", "s3"])
def place(
    request: pytest.FixtureRequest, pair: Path, other: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedFolder | AtS3]:
    if request.param == "folder":
        yield SharedFolder(tmp_path_factory.mktemp("shared"))
    else:
        with at_s3(tmp_path_factory.mktemp("s3"), pair, other) as place:
            yield place


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another folder with the sweep."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "sweeps").mkdir()
    (folder / "sweeps/pair.yaml").write_text(SWEEP)
    return folder


def joins(nodes: RayNodes, uri: str) -> dict[str, str]:
    return {**nodes.variables, "MLFLOW_TRACKING_URI": uri}


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])


@pytest.mark.usefixtures("pair")
def test_a_sweep_on_two_nodes_has_the_digits_of_one_machine(
    place: SharedFolder | AtS3, undisturbed: Results, server: str
) -> None:
    with place.nodes(FIRST, SECOND) as nodes:
        sweep = start("sweep", "pair", place.setting, **joins(nodes, server))
        said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, last_lines(said + errors)
    assert f"running on {FIRST}" in said and f"running on {SECOND}" in said
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)


@pytest.mark.usefixtures("drawn", "pair")
@pytest.mark.parametrize("moment", range(10))
def test_a_node_that_ends_loses_at_most_the_steps_since_the_last_checkpoint(
    moment: int,
    place: SharedFolder | AtS3,
    undisturbed: Results,
    server: str,
    seed: int,
    request: pytest.FixtureRequest,
) -> None:
    if moment >= request.config.getoption("--moments"):
        pytest.skip("--moments=10 runs all")
    rng = random.Random(f"node {seed} {moment}")
    with place.nodes(FIRST, SECOND) as nodes:
        sweep = start("sweep", "pair", place.setting, **joins(nodes, server))
        until(lambda: sweep.poll() is not None or trials(server))
        with suppress(subprocess.TimeoutExpired):
            sweep.wait(rng.uniform(0, 20))
        nodes.kill(rng.choice([FIRST, SECOND]))
        nodes.add(THIRD)
        place.restart()
        said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, last_lines(said + errors)
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)
    # A checkpoint that was on its way to an address is lost with the node.
    most = STEPS_AN_EPOCH if isinstance(place, SharedFolder) else 2 * STEPS_AN_EPOCH
    for run in trials(server):
        assert run.data.metrics.get(STEPS_REPEATED, 0) <= most


@pytest.mark.usefixtures("drawn", "pair")
def test_a_sweep_whose_driver_was_killed_goes_on_from_another_folder(
    place: SharedFolder | AtS3, other: Path, undisturbed: Results, server: str
) -> None:
    with place.nodes(FIRST, SECOND) as nodes:
        killed = start("sweep", "pair", place.setting, **joins(nodes, server))
        until(lambda: killed.poll() is not None or place.saved())
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        os.chdir(other)
        taking_over = start("sweep", "pair", place.setting, **joins(nodes, server))
        log = Path("logs/pair-stripes.log")
        until(lambda: taking_over.poll() is not None or (log.exists() and "running on" in log.read_text()))
        place.restart()
        said, errors = taking_over.communicate(timeout=300)
    assert taking_over.returncode == 0, last_lines(said + errors)
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)
    # The trials have outlived the driver for as long as they needed to save.
    assert [run.data.metrics.get(STEPS_REPEATED, 0) for run in trials(server)] == [0, 0]


@pytest.mark.usefixtures("drawn")
def test_two_drivers_in_two_folders_train_no_trial_twice(
    place: SharedFolder | AtS3, pair: Path, other: Path, undisturbed: Results, server: str
) -> None:
    with place.nodes(FIRST, SECOND) as nodes:
        # Without an address not even the folder of trials is common: only the records are.
        settings = [] if isinstance(place, SharedFolder) else [place.setting]
        here = start("sweep", "pair", *settings, **joins(nodes, server))
        os.chdir(other)
        there = start("sweep", "pair", *settings, **joins(nodes, server))
        until(lambda: here.poll() is not None or (trials(server) and place.saved()))
        place.restart()
        ends = [one.communicate(timeout=400) for one in (here, there)]
    assert [here.returncode, there.returncode] == [0, 0], [last_lines("".join(end)) for end in ends]
    assert_as_undisturbed(results(), undisturbed)
    assert_as_undisturbed(results(pair / "results/pair/stripes"), undisturbed)
    assert_each_trial_once(server)
    assert [run.data.metrics.get(STEPS_REPEATED, 0) for run in trials(server)] == [0, 0]


@pytest.mark.usefixtures("drawn", "pair")
def test_ctrl_c_lets_the_trials_of_all_nodes_save(place: SharedFolder | AtS3, server: str) -> None:
    with place.nodes(FIRST, SECOND) as nodes:
        sweep = start("sweep", "pair", place.setting, "train.checkpoint_every_epochs=100", **joins(nodes, server))
        until(lambda: len([run for run in trials(server) if run.data.metrics.get("progress/step", 0) >= 8]) == 2)
        os.killpg(sweep.pid, signal.SIGINT)
        said, errors = sweep.communicate(timeout=60)
        assert sweep.returncode == 130, last_lines(said + errors)
        until(lambda: len(place.saved()) == 2, seconds=20)
        until(lambda: not any(is_leased(run.data.tags) for run in trials(server)), seconds=20)
