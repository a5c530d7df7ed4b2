"""Nodes of a real Ray cluster that end, join and do not fit, and drivers that end or meet, while a sweep runs."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import RayNodes, ray_nodes
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

from analysis.records.names import STEPS_REPEATED
from pipeline.tracking.lease import is_leased

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = "127.0.0.3", "127.0.0.4", "127.0.0.5"
# Of `SWEEP`: steps between two checkpoints.
STEPS_AN_EPOCH = 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "server"
    folder.mkdir()
    with mlflow_server(folder) as (uri, _):
        yield uri


def joins(nodes: RayNodes, uri: str, trials: Path) -> tuple[str, dict[str, str]]:
    return f"paths.trials={trials}", {**nodes.variables, "MLFLOW_TRACKING_URI": uri}


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])


def test_a_sweep_on_two_nodes_has_the_digits_of_one_machine(pair: Path, undisturbed: Results, server: str) -> None:
    with ray_nodes(FIRST, SECOND, python_path=str(ROOT)) as nodes:
        setting, variables = joins(nodes, server, pair / "shared")
        sweep = start("sweep", "pair", setting, **variables)
        said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, last_lines(said + errors)
    assert f"running on {FIRST}" in said and f"running on {SECOND}" in said
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("moment", range(10))
def test_a_node_that_ends_loses_at_most_the_steps_since_the_last_checkpoint(
    moment: int, pair: Path, undisturbed: Results, server: str, seed: int, request: pytest.FixtureRequest
) -> None:
    if moment >= request.config.getoption("--moments"):
        pytest.skip("--moments=10 runs all")
    rng = random.Random(f"node {seed} {moment}")
    with ray_nodes(FIRST, SECOND, python_path=str(ROOT)) as nodes:
        setting, variables = joins(nodes, server, pair / "shared")
        sweep = start("sweep", "pair", setting, **variables)
        until(lambda: sweep.poll() is not None or list(pair.glob("shared/*/output.txt")))
        with suppress(subprocess.TimeoutExpired):
            sweep.wait(rng.uniform(0, 20))
        nodes.kill(rng.choice([FIRST, SECOND]))
        nodes.add(THIRD)
        said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, last_lines(said + errors)
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)
    for run in trials(server):
        assert run.data.metrics.get(STEPS_REPEATED, 0) <= STEPS_AN_EPOCH


@pytest.mark.usefixtures("drawn")
def test_a_sweep_whose_driver_was_killed_goes_on_from_another_folder(
    pair: Path, tmp_path_factory: pytest.TempPathFactory, undisturbed: Results, server: str
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "sweeps").mkdir()
    (other / "sweeps/pair.yaml").write_text(SWEEP)
    with ray_nodes(FIRST, SECOND, python_path=str(ROOT)) as nodes:
        setting, variables = joins(nodes, server, pair / "shared")
        killed = start("sweep", "pair", setting, **variables)
        until(lambda: killed.poll() is not None or list(pair.glob("shared/*/last.pt")))
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        os.chdir(other)
        taking_over = start("sweep", "pair", setting, **variables)
        said, errors = taking_over.communicate(timeout=300)
    assert taking_over.returncode == 0, last_lines(said + errors)
    assert_as_undisturbed(results(), undisturbed)
    assert_each_trial_once(server)
    # The trials have outlived the driver for as long as they needed to save.
    assert [run.data.metrics.get(STEPS_REPEATED, 0) for run in trials(server)] == [0, 0]


@pytest.mark.usefixtures("drawn")
def test_two_drivers_in_two_folders_train_no_trial_twice(
    pair: Path, tmp_path_factory: pytest.TempPathFactory, undisturbed: Results, server: str
) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(pair / "sweeps", other / "sweeps")
    with ray_nodes(FIRST, SECOND, python_path=str(ROOT)) as nodes:
        _, variables = joins(nodes, server, pair)
        # Not even the folder of trials is common: only the records are.
        here = start("sweep", "pair", **variables)
        os.chdir(other)
        there = start("sweep", "pair", **variables)
        ends = [one.communicate(timeout=400) for one in (here, there)]
    assert [here.returncode, there.returncode] == [0, 0], [last_lines("".join(end)) for end in ends]
    assert_as_undisturbed(results(), undisturbed)
    assert_as_undisturbed(results(pair / "results/pair/stripes"), undisturbed)
    assert_each_trial_once(server)
    assert [run.data.metrics.get(STEPS_REPEATED, 0) for run in trials(server)] == [0, 0]


@pytest.mark.usefixtures("drawn")
def test_ctrl_c_lets_the_trials_of_all_nodes_save(pair: Path, server: str) -> None:
    with ray_nodes(FIRST, SECOND, python_path=str(ROOT)) as nodes:
        setting, variables = joins(nodes, server, pair / "shared")
        sweep = start("sweep", "pair", setting, "train.checkpoint_every_epochs=100", **variables)
        until(lambda: len([run for run in trials(server) if run.data.metrics.get("progress/step", 0) >= 8]) == 2)
        os.killpg(sweep.pid, signal.SIGINT)
        said, errors = sweep.communicate(timeout=60)
        assert sweep.returncode == 130, last_lines(said + errors)
        until(lambda: len(list(pair.glob("shared/*/last.pt"))) == 2, seconds=20)
        until(lambda: not any(is_leased(run.data.tags) for run in trials(server)), seconds=20)
