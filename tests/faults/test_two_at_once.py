"""Two commands at once: sweeps of two working folders on one store, and tables that are written during a sweep."""

import os
import subprocess
from pathlib import Path

import pytest
from faults import Results, assert_as_undisturbed, assert_nothing_is_left, command, results, start, trials, until

pytestmark = pytest.mark.fault


@pytest.mark.usefixtures("drawn")
def test_sweeps_of_two_working_folders_on_one_store_train_no_trial_twice(
    tmp_path_factory: pytest.TempPathFactory, pair: Path, undisturbed: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, uri = tmp_path_factory.mktemp("other"), f"sqlite:///{pair / 'mlflow.db'}"
    (other / "sweeps").symlink_to(pair / "sweeps")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sweeps = [start("sweep", "pair")]
    until(lambda: list(pair.glob("trials/*/last.pt")))
    monkeypatch.chdir(other)
    sweeps.append(start("sweep", "pair"))
    for sweep, folder in zip(sweeps, (pair, other), strict=True):
        said, errors = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, said + errors
        assert "Traceback" not in said + errors
        assert_as_undisturbed(results(folder / "results/pair/stripes"), undisturbed)
    assert_nothing_is_left(uri, sweeps)
    assert all("cost/steps_repeated" not in run.data.metrics for run in trials(uri)), "a step was trained twice"


@pytest.mark.usefixtures("drawn")
def test_tables_that_are_written_during_a_sweep_disturb_nothing(pair: Path, undisturbed: Results) -> None:
    sweep = start("sweep", "pair")
    until(lambda: list(pair.glob("trials/*/last.pt")))
    while sweep.poll() is None:
        tables = subprocess.run(command("tables", "pair"), env=os.environ, capture_output=True, text=True, timeout=120)
        assert tables.returncode == 0 and "Traceback" not in tables.stderr, tables.stderr
    said, errors = sweep.communicate()
    assert sweep.returncode == 0, said + errors
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(f"sqlite:///{pair / 'mlflow.db'}", [sweep])
