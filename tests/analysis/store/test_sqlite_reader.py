"""A SQLite store is read without MLflow. What is read is what MLflow would have read."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.names import IS_SWEEP, IS_TRIAL, row_tag
from analysis.store.database import known_revisions
from analysis.store.mlflow_client import ClientReader
from analysis.store.open_store import open_store
from analysis.store.sqlite_reader import REVISION, SQLiteReader
from analysis.store.stored_runs import Tags


@pytest.fixture
def uri(stores: dict[str, str], tmp_path: Path) -> str:
    """A store of its own, with what real ones also hold: nan, deleted runs and experiments, runs of others."""
    shutil.copy(stores["now"].removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.delete_experiment(client.create_experiment("given up"))
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    for kind in ("trial", "trial", "of another project"):
        run = client.create_run(experiment.experiment_id, tags={"kind": kind, "trial_key": "a key"})
        client.log_metric(run.info.run_id, "last/fd_small_conv", float("nan"))
        client.log_metric(run.info.run_id, "eval/fd_small_conv", float("inf"), step=3)
    client.delete_run(run.info.run_id)
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_the_schema_is_that_of_the_installed_mlflow() -> None:
    assert known_revisions().get_current_head() == REVISION


@pytest.mark.parametrize(
    "tags",
    [IS_TRIAL, IS_SWEEP, {**IS_TRIAL, row_tag("hand_made"): None}, {**IS_TRIAL, "trial_key": "a key"}, {}],
    ids=["trials", "sweeps", "of one sweep", "of one key", "all"],
)
@pytest.mark.parametrize("most", [None, 2])
def test_mlflow_and_we_read_the_same_runs(uri: str, tags: Tags, most: int | None) -> None:
    ours, theirs = open_store(uri), ClientReader(uri)
    assert isinstance(ours, SQLiteReader)
    assert ours.experiments() == theirs.experiments()
    for name in ("stripes", "given up", "none"):
        assert ours.experiment(name) == theirs.experiment(name)
    experiments = list(ours.experiments())
    found = ours.runs(experiments, tags, most)
    assert found and repr(found) == repr(theirs.runs(experiments, tags, most))  # nan does not equal itself
    for run in found:
        assert ours.tags(run.run_id) == theirs.tags(run.run_id) == run.tags
    ids = [run.run_id for run in found]
    for metric in ("eval/fd_small_conv", "last/fd_small_conv", "none"):
        assert repr(ours.histories(ids, metric)) == repr(theirs.histories(ids, metric))


def test_mlflow_and_we_read_the_same_artifacts(uri: str) -> None:
    ours, theirs = open_store(uri), ClientReader(uri)
    read = 0
    for run in ours.runs(list(ours.experiments()), {}):
        assert sorted(ours.artifacts(run.run_id, "images")) == sorted(theirs.artifacts(run.run_id, "images"))
        for path in ours.artifacts(run.run_id, ""):
            if "." in path:
                assert ours.artifact(run.run_id, path) == theirs.artifact(run.run_id, path)
                read += 1
    assert read


def test_a_run_that_is_not_there_has_no_tags(uri: str) -> None:
    assert open_store(uri).tags("0" * 32) is None
    assert ClientReader(uri).tags("0" * 32) is None


def test_mlflow_reads_a_store_of_another_schema_or_with_artifacts_elsewhere(uri: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE experiments SET artifact_location = 's3://bucket' WHERE name = 'given up'")
        database.commit()
        assert isinstance(open_store(uri), ClientReader)
        database.execute("UPDATE experiments SET artifact_location = 'file:///x' WHERE name = 'given up'")
        database.commit()
        assert isinstance(open_store(uri), SQLiteReader)


def test_reading_sees_what_a_writer_that_was_killed_had_not_finished_as_not_written(uri: str) -> None:
    """SQLite leaves a journal behind. Whoever opens the database next must be able to roll it back."""
    file = Path(uri.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA cache_size = 1")
        database.execute("PRAGMA cache_spill = ON")
        database.execute("BEGIN")
        for number in range(2000):
            database.execute("INSERT INTO experiments (name, workspace) VALUES (?, 'default')", [f"{number} " * 60])
        copies = {name: file.with_name(name).read_bytes() for name in ("mlflow.db", "mlflow.db-journal")}
        database.rollback()
    for name, content in copies.items():
        file.with_name(name).write_bytes(content)
    assert set(SQLiteReader(file).experiments().values()) == {"Default", "stripes"}
