"""What happens to records while the store does not answer: nothing is lost, doubled, or in another order."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

from analysis.store.database import refused_schema
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError
from pipeline.tracking import outage, trial_run
from pipeline.tracking.journal import JOURNAL, Entry, read_journal, write_journal
from pipeline.tracking.outage import ask_through_outage, is_outage
from pipeline.tracking.store import Tracker, store_lock
from pipeline.tracking.trial_run import TrialRun
from pipeline.trial.waiting_records import send_waiting_records

GRID = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def uri(project: Path) -> str:
    return f"sqlite:///{project / 'mlflow.db'}"


@pytest.fixture
def run_id(project: Path, uri: str) -> str:
    tracker = Tracker(uri, "stripes", (project / "artifacts").as_uri(), store_lock(uri, project))
    return tracker.create_trial("key", "a, seed 0")


@pytest.fixture
def folder(project: Path) -> Path:
    (project / "trials/key").mkdir(parents=True)
    return project / "trials/key"


@contextmanager
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No call that writes reaches the store, as with a server that is stopped."""

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("Max retries exceeded", error_code=1)

    with monkeypatch.context() as patch:
        for name in ("log_batch", "update_run", "set_terminated", "log_dict", "log_image", "log_text"):
            patch.setattr(MlflowClient, name, refuse)
        yield


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(found.step, found.value) for found in MlflowClient(uri).get_metric_history(run_id, name)]


def test_what_is_logged_in_an_outage_arrives_later_complete_in_order_and_once(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    run.begin()
    run.log(1, {"train/gan": 1.0})
    run.flush()
    with away(monkeypatch):
        run.log_evaluation(2, {"fid": 5.0}, {"extractor": "small-conv"}, GRID)
        run.log(2, {"train/gan": 2.0})
        run.flush()
        assert run.silent_seconds > 0 and (folder / JOURNAL).exists()
        run.log(3, {"train/gan": 3.0})
        run.finish({"last/fid": 5.0}, {"timed": "alone"})
    assert MlflowClient(uri).get_run(run_id).info.status == "RUNNING"
    assert send_waiting_records(PathsConfig(trials=str(folder.parent)), uri) == 1
    assert not (folder / JOURNAL).exists() and send_waiting_records(PathsConfig(trials=str(folder.parent)), uri) == 0
    done = MlflowClient(uri).get_run(run_id)
    assert done.info.status == "FINISHED"
    assert done.data.metrics["last/fid"] == 5.0 and done.data.tags["timed"] == "alone"
    assert history(uri, run_id, "train/gan") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    images = [file.path for file in MlflowClient(uri).list_artifacts(run_id, "images")]
    assert sum(image.endswith(".png") for image in images) == 1


def test_an_outage_ends_while_the_trial_still_trains(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_run, "SECONDS_BETWEEN_RETRIES", 0.0)
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.log(1, {"train/gan": 1.0})
        run.flush()
    run.flush()  # in a thread
    run.finish({}, {})
    assert run.silent_seconds == 0 and not (folder / JOURNAL).exists()
    assert history(uri, run_id, "train/gan") == [(1, 1.0)]


def test_a_trial_that_resumes_after_an_outage_knows_what_waits(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        for step in (1, 2):
            run.log(step, {"train/gan": float(step)})
        run.flush()
    again = TrialRun(uri, run_id, folder)
    assert again.last_step == 2
    again.note_start(1)
    for step in (2, 3):
        again.log(step, {"train/gan": float(step)})
    again.finish({}, {})
    assert history(uri, run_id, "train/gan") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert MlflowClient(uri).get_run(run_id).data.metrics["cost/steps_repeated"] == 1


def test_steps_that_are_trained_again_add_up_over_all_losses(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second loss falls back to an older checkpoint, and the third one happens while the store is away."""
    run = TrialRun(uri, run_id, folder)
    for step in (1, 2, 3):
        run.log(step, {"train/gan": float(step)})
    run.flush()
    for first_step in (2, 1):
        run = TrialRun(uri, run_id, folder)
        run.note_start(first_step)
        run.flush()
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.note_start(1)
        run.flush()
    TrialRun(uri, run_id, folder).finish({}, {})
    assert MlflowClient(uri).get_run(run_id).data.metrics["cost/steps_repeated"] == 1 + 2 + 2
    assert history(uri, run_id, "progress/steps_repeated") == [(1, 1.0), (3, 3.0), (5, 5.0)]


def test_a_trial_that_ended_in_an_outage_is_known_as_ended(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.finish({}, {})
    assert TrialRun(uri, run_id, folder).status == "FINISHED"


def test_the_reason_of_a_failure_is_not_replaced_by_that_of_the_store(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.fail("out of memory", "Traceback …", {"out_of_memory_gb": "4"})
    send_waiting_records(PathsConfig(trials=str(folder.parent)), uri)
    failed = MlflowClient(uri).get_run(run_id)
    assert (failed.info.status, failed.data.tags["error"]) == ("FAILED", "out of memory")
    assert failed.data.tags["out_of_memory_gb"] == "4"


def test_a_failure_that_nothing_can_record_raises_nothing(
    uri: str, run_id: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial_run, "write_journal", full)
    with away(monkeypatch):
        run.fail("out of memory", "Traceback …", {})
    assert "No space left on device" in capfd.readouterr().err


def test_a_store_that_refuses_a_record_is_no_outage(uri: str, run_id: str, folder: Path) -> None:
    run = TrialRun(uri, run_id, folder)
    MlflowClient(uri).delete_run(run_id)
    run.log(1, {"train/gan": 1.0})
    with pytest.raises(MlflowException, match="deleted"):
        run.flush()


def test_a_database_that_another_process_keeps_locked_is_an_outage(uri: str, project: Path) -> None:
    with (
        closing(sqlite3.connect(project / "mlflow.db", timeout=0)) as other,
        closing(sqlite3.connect(project / "mlflow.db", timeout=0)) as mine,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            mine.execute("BEGIN EXCLUSIVE")
        assert refused_schema(uri) == ""
    # As MLflow raises it.
    assert is_outage(MlflowException(str(caught.value), error_code=11))


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (MlflowException("", RESOURCE_DOES_NOT_EXIST), False),
        (MlflowException("", RESOURCE_ALREADY_EXISTS), False),
        (MlflowException("", INVALID_PARAMETER_VALUE), False),
        (MlflowException("", INVALID_STATE), False),
        (MlflowException("", UNAUTHENTICATED), False),
        (MlflowException("", PERMISSION_DENIED), False),
        (MlflowException("", INTERNAL_ERROR), True),
        (MlflowException("", TEMPORARILY_UNAVAILABLE), True),
        (ConnectionError(), True),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_an_answer_that_would_be_the_same_again_is_no_outage(error: Exception, may_pass: bool) -> None:
    assert is_outage(error) == may_pass


def test_a_journal_keeps_values_and_images_exactly(tmp_path: Path) -> None:
    entries = [
        Entry("metric", {"key": "train/gan", "value": float("nan"), "timestamp": 1, "step": 2}),
        Entry("evaluation", {"step": 2, "scores": {"fid": 0.1 + 0.2}, "made_with": {}, "grid": GRID}),
    ]
    file = tmp_path / JOURNAL
    write_journal(file, "http://store", "run", entries)  # pyright: ignore[reportArgumentType]
    store, run_id, found = read_journal(file)
    assert (store, run_id) == ("http://store", "run") and [entry.kind for entry in found] == ["metric", "evaluation"]
    assert np.isnan(found[0].content["value"])
    assert found[1].content["scores"] == {"fid": 0.1 + 0.2}
    assert np.array_equal(found[1].content["grid"], GRID)


def test_asking_goes_on_until_there_is_an_answer_and_says_how_long_it_has_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[float] = []
    slept: list[float] = []
    monkeypatch.setattr(outage.time, "sleep", slept.append)
    answers = iter([OSError("no route"), OSError("no route"), "here"])

    def ask() -> str:
        if isinstance(answer := next(answers), OSError):
            raise answer
        return answer

    assert ask_through_outage(ask, 60, said.append) == "here"
    assert len(said) == 3 and said[2] == 0
    assert slept == [outage.ASK_AGAIN_SECONDS] * 2
    answers = iter([OSError("no route")])
    with pytest.raises(OSError, match="no route"):
        ask_through_outage(ask, 0, said.append)


def test_records_of_a_deleted_run_stay_and_the_line_names_them(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.finish({}, {})
    MlflowClient(uri).delete_run(run_id)
    with pytest.raises(UserError, match=f"{JOURNAL}.*remove the file"):
        send_waiting_records(PathsConfig(trials=str(folder.parent)), uri)
    assert (folder / JOURNAL).exists()


def test_records_that_wait_are_sent_to_the_store_that_was_moved_and_to_no_other(
    uri: str, run_id: str, folder: Path, tmp_path: Path, template_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        run.finish({}, {})
    (tmp_path / "other").mkdir()
    shutil.copy(template_store, tmp_path / "other/mlflow.db")
    assert send_waiting_records(PathsConfig(trials=str(folder.parent)), f"sqlite:///{tmp_path}/other/mlflow.db") == 0
    assert (folder / JOURNAL).exists()
    moved = Path(uri.removeprefix("sqlite:///")).rename(tmp_path / "moved.db")
    assert send_waiting_records(PathsConfig(trials=str(folder.parent)), f"sqlite:///{moved}") == 1
    assert MlflowClient(f"sqlite:///{moved}").get_run(run_id).info.status == "FINISHED"
