"""The record of one trial: what a resumed trial adds to it, and what it never takes or shows."""

from collections import deque
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_outage import GRID, away, folder, history, run_id, uri

from pipeline.tracking import outage, trial_run
from pipeline.tracking.journal import BATCH_METRICS, JOURNAL, Entry, metrics, write_journal
from pipeline.tracking.trial_run import SECONDS_BETWEEN_BATCHES, TrialRun

__all__ = ["folder", "run_id", "uri"]


def test_a_trial_that_starts_in_an_outage_waits_for_the_store(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened, tries = trial_run._open, iter([OSError("no route"), None])  # pyright: ignore[reportPrivateUsage]

    def later(*arguments: str) -> object:
        if error := next(tries):
            raise error
        return opened(*arguments)

    monkeypatch.setattr(trial_run, "_open", later)
    monkeypatch.setattr(outage.time, "sleep", lambda _: None)
    assert TrialRun(uri, run_id, folder).status == "SCHEDULED"
    assert "The tracking store has not answered for 0 s." in capfd.readouterr().err


def test_what_waits_for_another_run_is_not_sent_to_this_one(uri: str, run_id: str, folder: Path) -> None:
    """As after `drop` and a new run of the same trial."""
    write_journal(folder / JOURNAL, uri, "another", metrics(7, {"train/gan": 1.0, trial_run.PROGRESS_STEP: 7.0}))  # pyright: ignore[reportArgumentType]
    run = TrialRun(uri, run_id, folder)
    assert run.last_step == -1
    run.finish({}, {})
    assert history(uri, run_id, "train/gan") == []


def test_a_failed_trial_that_trains_again_shows_no_error(uri: str, run_id: str, folder: Path) -> None:
    TrialRun(uri, run_id, folder).fail("no such thing", "Traceback …", {})
    again = TrialRun(uri, run_id, folder)
    assert again.status == "FAILED"
    again.begin()
    found = MlflowClient(uri).get_run(run_id)
    assert (found.info.status, found.data.tags["error"]) == ("RUNNING", "")


def test_a_reason_is_recorded_without_password_and_in_one_line(uri: str, run_id: str, folder: Path) -> None:
    run = TrialRun(uri, run_id, folder)
    run.begin()
    run.note_error("no answer from\nhttp://me:s3cret@host/x")
    found = MlflowClient(uri).get_run(run_id)
    assert (found.info.status, found.data.tags["error"]) == ("RUNNING", r"no answer from\nhttp://host/x")


def test_what_a_resumed_trial_repeats_is_logged_once(uri: str, run_id: str, folder: Path) -> None:
    run = TrialRun(uri, run_id, folder)
    for step in (1, 2):
        run.log_evaluation(step, {"fid": float(step)}, {}, GRID)
        run.log(step, {"train/gan": float(step)})
    run.flush()
    again = TrialRun(uri, run_id, folder)
    assert again.last_step == 2
    again.note_start(1)
    for step in (2, 3):
        again.log_evaluation(step, {"fid": -1.0}, {}, GRID)
        again.log(step, {"train/gan": -1.0})
        again.log(step, {"train/gan": -2.0})
    third = TrialRun(uri, run_id, folder)
    assert third.last_step == 2, "values wait for the next batch"
    again.flush()
    third = TrialRun(uri, run_id, folder)
    third.note_start(1)  # two steps again
    third.finish({}, {})
    assert history(uri, run_id, "train/gan") == [(1, 1.0), (2, 2.0), (3, -1.0)]
    files = [file.path for file in MlflowClient(uri).list_artifacts(run_id, "evaluations")]
    assert [file[-6:] for file in files] == ["1.json", "2.json", "3.json"]
    assert MlflowClient(uri).get_run(run_id).data.metrics["cost/steps_repeated"] == 3


def test_values_are_sent_in_batches_by_time(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(trial_run.time, "monotonic", lambda: now[0])
    run = TrialRun(uri, run_id, folder)
    run.log(1, {"train/gan": 1.0})
    assert history(uri, run_id, "train/gan") == []
    now[0] += SECONDS_BETWEEN_BATCHES
    run.log(2, {"train/gan": 2.0})
    assert history(uri, run_id, "train/gan") == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize(("seconds", "pause"), [(0.01, 2.0), (0.5, 10.0), (100.0, 60.0)])
def test_a_slow_store_gets_batches_less_often(
    seconds: float, pause: float, uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, sent = [1000.0], list[float]()

    def send(client: object, run: str, entries: deque[Entry]) -> None:
        sent.append(now[0])
        now[0] += seconds
        entries.clear()

    monkeypatch.setattr(trial_run.time, "monotonic", lambda: now[0])
    run = TrialRun(uri, run_id, folder)
    monkeypatch.setattr(trial_run, "send", send)
    for step in range(1, 400):
        now[0] += 1.0
        run.log(step, {"train/gan": 1.0})
    assert sent[2] - sent[1] == pytest.approx(seconds + pause, abs=1.01)


def test_a_store_that_is_away_is_tried_again_only_from_time_to_time(
    uri: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tries = [1000.0], []
    monkeypatch.setattr(trial_run.time, "monotonic", lambda: now[0])
    run = TrialRun(uri, run_id, folder)
    with away(monkeypatch):
        monkeypatch.setattr(trial_run, "send", lambda *_: tries.append(now[0]) or MlflowClient(uri).log_batch(run_id))
        run.log(1, {"train/gan": 1.0})
        for seconds in (0, 1, trial_run.SECONDS_BETWEEN_RETRIES - 2, 1):
            now[0] += seconds
            run.flush()
            if run._retry:  # pyright: ignore[reportPrivateUsage]
                run._retry.join()  # pyright: ignore[reportPrivateUsage]
    assert tries == [1000.0, 1000.0 + trial_run.SECONDS_BETWEEN_RETRIES]
    assert run.silent_seconds == trial_run.SECONDS_BETWEEN_RETRIES


def test_more_metrics_than_fit_into_a_batch_arrive(uri: str, run_id: str, folder: Path) -> None:
    run = TrialRun(uri, run_id, folder)
    run.finish({f"cost/{number}": float(number) for number in range(2 * BATCH_METRICS + 1)}, {})
    found = MlflowClient(uri).get_run(run_id)
    assert (found.info.status, len(found.data.metrics)) == ("FINISHED", 2 * BATCH_METRICS + 1)
