"""The disk of a SQLite store becomes full: nothing is lost, and the same command goes on once there is room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_outage import history

from analysis.store.moved_store import follow_move
from pipeline.__main__ import main
from pipeline.config.schema import PathsConfig
from pipeline.tracking.store import Tracker, store_lock
from pipeline.tracking.trial_run import TrialRun
from pipeline.trial.waiting_records import send_waiting_records


@pytest.fixture
def uri(project: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store on a small disk. Everything else is on another one."""
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    shutil.copy(project / "mlflow.db", disk / "mlflow.db")
    (project / "mlflow.db").unlink()
    assert follow_move(f"sqlite:///{disk}/mlflow.db") == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{disk}/mlflow.db")
    return os.environ["MLFLOW_TRACKING_URI"]


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 512):
            pass
    yield
    filler.unlink()


@pytest.mark.slow
def test_a_store_without_room_is_named_in_one_line_and_the_command_goes_on_when_there_is_room(
    uri: str, disk: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", *tiny_overrides]
    with full(disk):
        assert main(train) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"tracking.uri={uri}" in line and "disk is full" in line
    assert main(train) == 0


def test_records_wait_while_the_store_has_no_room(uri: str, disk: Path, project: Path) -> None:
    tracker = Tracker(uri, "stripes", (project / "artifacts").as_uri(), store_lock(uri, project))
    folder = project / "trials/key"
    folder.mkdir(parents=True)
    run = TrialRun(uri, tracker.create_trial("key", "a, seed 0"), folder)
    run.begin()
    run.log(1, {"train/gan": 1.0})
    run.flush()
    with full(disk):
        run.log(2, {"train/gan": 2.0})
        run.flush()
        assert run.silent_seconds > 0
        run.finish({"last/fid": 5.0}, {})
    assert send_waiting_records(PathsConfig(trials=str(folder.parent)), uri) == 1
    assert MlflowClient(uri).get_run(run.run_id).info.status == "FINISHED"
    assert history(uri, run.run_id, "train/gan") == [(1, 1.0), (2, 2.0)]
