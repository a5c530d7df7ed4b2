"""A store that others use as well: their runs change nothing, whatever their tags, metrics and names are."""

import math
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.schema import RecordsError
from analysis.store.overview import recorded_tasks
from analysis.store.reader import read_sweep
from pipeline.__main__ import main
from pipeline.tracking.store import Tracker, store_lock

ESC = "\x1b[31m"
TAGS = [
    {},
    {"kind": "trial"},
    {"kind": "sweep"},
    {"kind": "sweep", "manifest": "x"},
    {"kind": "trial", "row.hand_made": "internal"},
    {"kind": "trial", "trial_key": f"'; DROP TABLE runs; -- {ESC}", "work": "'\"`%", "row.hand_made": "internal"},
    {"kind": "evaluation", "error": f"{ESC}[red] | <script>"},
]


def add_foreign_runs(uri: str) -> None:
    client = MlflowClient(uri)
    names = ["stripes", "../../elsewhere", "[/red] odd", f"a{ESC}", "Default"]
    for name in names:
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name)
        for tags in TAGS:
            run = client.create_run(experiment, tags=tags, run_name=f'{ESC}`x\' "y"')
            client.log_metric(run.info.run_id, "last/fd_small_conv", math.nan, step=-5)
            client.log_metric(run.info.run_id, "progress/step", math.inf)
        if name != "stripes":
            run = client.create_run(experiment, tags={"kind": "sweep", "sweep": "hand_made"})
            client.log_text(run.info.run_id, "no JSON", "sweep.json")


@pytest.fixture
def shared(stores: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    shutil.copy(stores["now"].removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = read_sweep(uri, "hand_made", "stripes")
    add_foreign_runs(uri)
    assert read_sweep(uri, "hand_made", "stripes").runs.equals(before.runs)
    return uri


def test_tables_status_and_reading_pass_over_foreign_runs(
    shared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 'Default' could be a task of ours. Its record cannot be read, and the message names it.
    MlflowClient(shared).delete_experiment("0")
    assert recorded_tasks(shared, "hand_made") == ["stripes"]
    outside = set(tmp_path.parent.iterdir())
    assert main(["tables", "hand_made"]) == 0
    assert main(["status", "hand_made"]) == 0
    assert set(tmp_path.parent.iterdir()) == outside
    assert {path.name for path in (tmp_path / "results/hand_made").iterdir()} == {"stripes"}
    assert "\x1b[31m" not in "".join(capsys.readouterr())


def test_the_trials_of_an_experiment_are_ours(shared: str, tmp_path: Path) -> None:
    tracker = Tracker(shared, "stripes", tmp_path.as_uri(), store_lock(shared, tmp_path))
    keys = set(tracker.find_trials())
    assert {key for key in keys if key.startswith("stripes-")} == keys - {TAGS[5]["trial_key"]}
    assert tracker.find_trials_of_same_cost("no such work") == []


@pytest.mark.parametrize("name", ["../x", "x/y", "", ".", "..", "x\ny", "x'"])
def test_names_that_lead_elsewhere_are_refused(stores: dict[str, str], name: str) -> None:
    with pytest.raises(RecordsError):
        read_sweep(stores["now"], name, "stripes")
    with pytest.raises(RecordsError, match="names no sweep and no task"):
        read_sweep(stores["now"], "hand_made", name)
