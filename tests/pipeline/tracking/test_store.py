"""The store itself: how it begins, which files are refused, and what two writers do to each other."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.schema import RecordsError
from analysis.store.reader import read_sweep
from pipeline.errors import UserError
from pipeline.tracking import store as module
from pipeline.tracking.store import Tracker, store_lock


def tracker_in(folder: Path, name: str = "mlflow.db") -> Tracker:
    uri = f"sqlite:///{folder / name}"
    return Tracker(uri, "stripes", (folder / "artifacts").as_uri(), store_lock(uri, folder))


def test_a_database_has_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.tracking.store_client as module

    class Interrupted(BaseException):
        pass

    def half(uri: str, root: str) -> None:
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
            database.execute("CREATE TABLE experiments (id INTEGER)")
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(module, "SqlAlchemyStore", half)
        with pytest.raises(Interrupted):
            _ = tracker_in(tmp_path).client
    assert not (tmp_path / "mlflow.db").exists()
    assert tracker_in(tmp_path).experiment_id
    assert {file.name for file in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock"}


def test_a_folder_may_have_a_quote_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    folder.mkdir()
    tracker = tracker_in(folder)
    assert tracker.find_trials() == {}
    assert tracker.create_trial("key", "a, seed 0")
    assert list(tracker.find_trials()) == ["key"]


def spoil(make: Callable[[sqlite3.Connection], object]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        with closing(sqlite3.connect(file)) as database:
            make(database)
            database.commit()

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            spoil(lambda db: db.execute("UPDATE alembic_version SET version_num = 'abc123'")),
            "abc123 of a newer MLflow.*Install the newer",
        ),
        (spoil(lambda db: db.execute("DROP TABLE alembic_version")), "another program"),
        (
            spoil(lambda db: [db.execute("DROP TABLE alembic_version"), db.execute("DROP TABLE experiments")]),
            "another program",
        ),
        (lambda file: file.write_text("no database, but long enough to look like one" * 20), "file is not a database"),
    ],
)
def test_a_database_of_another_version_is_named_and_left_as_it_is(
    project: Path, change: Callable[[Path], None], found: str
) -> None:
    file = project / "mlflow.db"
    change(file)
    before = file.read_bytes()
    with pytest.raises(UserError, match=found):
        tracker_in(project).find_trials()
    with pytest.raises(RecordsError, match=found):
        read_sweep(f"sqlite:///{file}", "mine", "stripes")
    assert file.read_bytes() == before


def test_two_machines_that_create_the_run_of_one_trial_agree_on_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a common disk there is no common lock. The other machine's run appears between looking and creating."""
    monkeypatch.setattr(module, "uses_leases", lambda uri: True)
    mine, other = tracker_in(project), tracker_in(project)
    first = other.create_trial("key", "a, seed 0")
    second = mine.create_trial("key", "a, seed 0")
    assert first == second
    assert [record.run_id for record in mine.find_trials().values()] == [first]
    assert len(MlflowClient(mine.uri).search_runs([mine.experiment_id])) == 1


def test_of_two_runs_of_one_trial_the_finished_one_counts(project: Path) -> None:
    tracker = tracker_in(project)
    client, tags = MlflowClient(tracker.uri), {"kind": "trial", "trial_key": "key"}
    runs = [client.create_run(tracker.experiment_id, start_time=start, tags=tags).info.run_id for start in (1, 2, 3)]
    assert tracker.find_trials()["key"].run_id == runs[0]
    client.set_terminated(runs[1], "FINISHED")
    assert tracker.find_trials()["key"].run_id == runs[1]


def test_an_experiment_that_another_machine_has_just_created_is_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = tracker_in(project), tracker_in(project)
    look = mine._existing_experiment  # pyright: ignore[reportPrivateUsage]
    answers = iter([None])
    monkeypatch.setattr(mine, "_existing_experiment", lambda: next(answers, look()))
    assert mine.experiment_id == other.experiment_id
