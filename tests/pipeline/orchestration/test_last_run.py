"""A sweep is found as it was last run, wherever its file is and whatever its overrides were."""

from pathlib import Path

import pytest

from analysis.records.schema import Manifest, SweepRow
from pipeline.errors import UserError
from pipeline.orchestration.last_run import find_last_run
from pipeline.tracking.store import Tracker, store_lock

SWEEP = "name: mine\nquestion: Which?\nseeds: [0]\nrows:\n  - {row: CUT, set: {model: cut}}\n"
COMMAND = ["task=folder", "data.root=photos", "train.batch_size=2"]


def record(project: Path, file: str, task: str, command: list[str]) -> None:
    """The record that a run of the sweep leaves."""
    uri = f"sqlite:///{project / 'mlflow.db'}"
    tracker = Tracker(uri, task, project.as_uri(), store_lock(uri, project / "trials"))
    rows = (SweepRow("CUT", "", {0: "key"}, {}),)
    tracker.record_sweep(Manifest("mine", "Which?", task, "CUT", rows, command=tuple(command), file=file))


@pytest.fixture
def elsewhere(project: Path) -> Path:
    """A sweep file outside sweeps/, which was run on one task."""
    (project / "own").mkdir()
    (project / "own/mine.yaml").write_text(SWEEP)
    record(project, "own/mine.yaml", "photos", COMMAND)
    return project


@pytest.mark.parametrize("name", ["mine", "own/mine.yaml"])
def test_without_a_task_the_overrides_of_the_last_run_come_first(
    name: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, overrides = find_last_run(name, ["train.batch_size=1"])
    assert (sweep.name, sweep.place) == ("mine", "own/mine.yaml")
    assert overrides == [*COMMAND, "train.batch_size=1"]
    said = capsys.readouterr().out
    assert "data.root=photos" in said and ("own/mine.yaml" in said) == (name == "mine")


def test_a_chosen_task_is_not_completed_and_a_recorded_name_still_finds_its_file(elsewhere: Path) -> None:
    sweep, overrides = find_last_run("mine", ["task=stripes"])
    assert (sweep.place, overrides) == ("own/mine.yaml", ["task=stripes"])


def test_of_several_tasks_one_must_be_chosen(elsewhere: Path) -> None:
    record(elsewhere, "own/mine.yaml", "stripes", [])
    with pytest.raises(UserError, match=r"photos, stripes.*task="):
        find_last_run("mine", [])
    assert find_last_run("mine", ["task=stripes"])[1] == ["task=stripes"]


def test_a_sweep_that_was_never_run_is_that_of_sweeps(project: Path) -> None:
    sweep, overrides = find_last_run("smoke", ["data.size=32"])
    assert (sweep.name, overrides) == ("smoke", ["data.size=32"])
    with pytest.raises(UserError, match="'nothing'"):
        find_last_run("nothing", [])
