"""A SQLite store whose folder was moved or copied."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from filled_store import fill
from mlflow import MlflowClient

from analysis.records.schema import RecordsError
from analysis.store.database import database_file
from analysis.store.evaluations import read_grids
from analysis.store.moved_store import follow_move
from analysis.store.reader import read_sweep
from pipeline.tracking.store import Tracker, store_lock


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def tracker_of(folder: Path) -> Tracker:
    uri = store_in(folder)
    return Tracker(uri, "stripes", (folder / "mlartifacts").as_uri(), store_lock(uri, folder))


def locations(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        asked = "SELECT artifact_location FROM experiments UNION ALL SELECT artifact_uri FROM runs"
        return [uri for (uri,) in database.execute(asked)]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, template_store: Path) -> Path:
    """A folder with a recorded sweep."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copy(template_store, folder / "mlflow.db")
    assert follow_move(store_in(folder)) == ""
    fill(folder, location=(folder / "mlartifacts/stripes").as_uri())
    return folder


@pytest.fixture
def made(tmp_path: Path, recorded: Path) -> Path:
    """The same under a name that needs quoting in an address and for a shell."""
    folder = Path(shutil.copytree(recorded, tmp_path / "it's 100 %"))
    assert follow_move(store_in(folder)) == ""
    return folder


def test_a_moved_folder_has_its_records_and_gets_the_new_ones(made: Path, tmp_path: Path) -> None:
    moved = made.rename(tmp_path / "moved there")
    uri = store_in(moved)
    record = read_sweep(uri, "hand_made", "stripes")
    assert len(record.finished) == 5
    assert len(read_grids(uri, [trial["run_id"] for trial in record.finished], 2)) == 5
    assert all(location.startswith(f"{moved.as_uri()}/") for location in locations(moved))
    run_id = tracker_of(moved).create_trial("key", "new, seed 0")
    MlflowClient(uri).log_text(run_id, "text", "file.txt")
    assert (moved / "mlartifacts/stripes" / run_id / "artifacts/file.txt").exists() and not made.exists()


def test_a_writer_follows_the_move_too(made: Path, tmp_path: Path) -> None:
    moved = made.rename(tmp_path / "moved")
    assert tracker_of(moved).experiment_id
    assert all(location.startswith(f"{moved.as_uri()}/") for location in locations(moved))


def test_a_copy_writes_nothing_into_the_original(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    run_id = tracker_of(copy).create_trial("key", "new, seed 0")
    MlflowClient(store_in(copy)).log_text(run_id, "text", "file.txt")
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert (copy / "mlartifacts/stripes" / run_id / "artifacts/file.txt").exists()
    assert follow_move(store_in(made)) == "" and locations(made)[0].startswith(made.as_uri())


@pytest.mark.parametrize("original", ["stays", "is gone"])
def test_a_store_without_its_files_is_refused_with_the_command_that_brings_them(
    made: Path, tmp_path: Path, original: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(made / "mlflow.db", copy)
    if original == "is gone":
        shutil.rmtree(made)
    before = locations(copy)
    with pytest.raises(RecordsError, match=r"without the folder mlartifacts.*cp -r .*mlartifacts.* .*/copy/"):
        read_sweep(store_in(copy), "hand_made", "stripes")
    assert locations(copy) == before
    (copy / "mlartifacts").mkdir()
    assert follow_move(store_in(copy)) == ""


def test_a_database_that_was_moved_away_from_its_files_stays_as_it_is(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "database"
    other.mkdir()
    (made / "mlflow.db").rename(other / "mlflow.db")
    before = locations(other)
    assert len(read_sweep(store_in(other), "hand_made", "stripes").finished) == 5
    assert locations(other) == before


def test_a_store_that_was_created_elsewhere_than_its_files_stays_as_it_is(made: Path, tmp_path: Path) -> None:
    """Also after the folder of the files was moved: where they are now is not known."""
    with closing(sqlite3.connect(made / "mlflow.db")) as database:
        elsewhere = (tmp_path / "files").as_uri()
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'stripes'", (elsewhere,))
        database.commit()
    before = locations(made)
    assert follow_move(store_in(made)) == "" and locations(made) == before
    moved = made.rename(tmp_path / "moved")
    assert follow_move(store_in(moved)) == ""
    assert elsewhere in locations(moved)


def test_a_link_to_the_folder_is_no_move(made: Path, tmp_path: Path) -> None:
    before = locations(made)
    (tmp_path / "link").symlink_to(made)
    assert follow_move(store_in(tmp_path / "link")) == "" and locations(made) == before


def test_a_moved_store_that_cannot_be_changed_is_named_in_one_line(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = made.rename(tmp_path / "moved")
    monkeypatch.setattr("analysis.store.moved_store.LOCK_SECONDS", 0.0)
    before = locations(moved)
    with closing(sqlite3.connect(moved / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        fault = follow_move(store_in(moved))
    assert "cannot be changed" in fault and "database is locked" in fault and "\n" not in fault
    assert locations(moved) == before
    assert follow_move(store_in(moved)) == "" and locations(moved) != before


def test_other_stores_are_not_looked_at(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path}/none.db", "postgresql://127.0.0.1:9/ml"):
        assert follow_move(uri) == ""
    (tmp_path / "empty.db").touch()
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    for name in ("empty.db", "other.db"):
        file = database_file(f"sqlite:///{tmp_path / name}")
        assert file is not None
        before = file.read_bytes()
        assert follow_move(f"sqlite:///{file}") == "" and file.read_bytes() == before
