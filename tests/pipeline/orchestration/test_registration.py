"""Runs are created as trials start, and by one sweep alone."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.store.reader import read_sweep
from pipeline.__main__ import main as pipeline
from pipeline.config.sweep_file import Row, Sweep
from pipeline.errors import UserError
from pipeline.orchestration.planner import Plan, plan_sweep
from pipeline.orchestration.registration import Registration, RunsAhead, register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.tracking import store
from pipeline.tracking.store import Tracker
from pipeline.tracking.store_client import StoreClient
from pipeline.trial.job import TrialJob
from pipeline.trial.lock import claimed

ROWS = (Row("a", {}), Row("b", {"model.temperature": 0.5}), Row("c", {"model.temperature": 0.2}))


@pytest.fixture
def plan(project: Path, tiny_overrides: tuple[str, ...]) -> Callable[..., Plan]:
    """Plans a sweep of three rows anew."""

    def make(name: str = "mine", rows: tuple[Row, ...] = ROWS) -> Plan:
        return plan_sweep(Sweep(name, "Which?", (0,), rows), tiny_overrides)

    return make


def test_a_sweep_is_recorded_before_its_trials_and_each_trial_as_it_starts(plan: Callable[..., Plan]) -> None:
    planned = plan()
    registration = Registration(planned, estimate_requirements(planned))
    record = read_sweep(planned.tracker.uri, "mine", "stripes")
    assert list(record.runs["status"]) == ["MISSING"] * 3
    assert [job.run_id for job in registration.jobs] == [""] * 3
    started = registration.run_of(registration.jobs[1])
    record = read_sweep(planned.tracker.uri, "mine", "stripes")
    assert list(record.runs["status"]) == ["MISSING", "SCHEDULED", "MISSING"]
    (run,) = record.details.values()
    assert run.parameters["model.temperature"] == "0.5"
    tags = MlflowClient(planned.tracker.uri).get_run(started).data.tags
    assert {"row.mine": "b", "now.mine": "yes", "set.mine": '{"model.temperature": 0.5}'}.items() <= tags.items()
    assert {"kind", "trial_key", "work", "commit", "data_fingerprint", "result_version"} <= set(tags)


def test_of_two_sweeps_that_wait_for_long_only_one_creates_a_trials_run(plan: Callable[..., Plan]) -> None:
    registrations = [Registration(planned, estimate_requirements(planned)) for planned in (plan("one"), plan("other"))]
    first = [registrations[0].run_of(job) for job in registrations[0].jobs]
    assert [registrations[1].run_of(job) for job in registrations[1].jobs] == first
    for name in ("one", "other"):
        assert list(read_sweep(plan().tracker.uri, name, "stripes").runs["run_id"]) == first


def test_a_trial_that_another_sweep_has_finished_keeps_what_it_was_made_with(plan: Callable[..., Plan]) -> None:
    mine, other = plan("mine"), plan("other")
    waiting = Registration(mine, estimate_requirements(mine))
    client = MlflowClient(mine.tracker.uri)
    for job in register_trials(other, estimate_requirements(other)):
        client.set_tag(job.run_id, "commit", "of the other")
        client.set_terminated(job.run_id, "FINISHED")
    for job in waiting.jobs:
        tags = client.get_run(waiting.run_of(job)).data.tags
        assert (tags["commit"], tags["now.mine"]) == ("of the other", "yes")


def test_a_new_trial_takes_four_calls_of_the_store_and_one_that_has_a_run_two(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    asked = store._Asked._call  # pyright: ignore[reportPrivateUsage]

    def count(self: object, function: Callable[..., object], *arguments: object, **options: object) -> object:
        calls[getattr(function, "__name__", "")] += 1
        return asked(self, function, *arguments, **options)  # pyright: ignore[reportArgumentType]

    planned = plan()
    registration = Registration(planned, estimate_requirements(planned))
    monkeypatch.setattr(store._Asked, "_call", count)  # pyright: ignore[reportPrivateUsage]
    registration.run_of(registration.jobs[0])
    assert calls == {"runs": 1, "create_run": 1, "update_run": 1, "log": 1}
    calls.clear()
    registration.run_of(registration.jobs[0])
    assert calls == {"runs": 1, "log": 1}
    calls.clear()
    # Machines without a common disk look once more.
    monkeypatch.setattr(store, "uses_leases", lambda uri: True)
    registration.run_of(registration.jobs[1])
    assert calls == {"runs": 2, "create_run": 1, "update_run": 1, "log": 1}


def test_a_trial_that_waits_without_a_run_is_waiting_and_can_be_skipped(
    plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan()
    registration = Registration(planned, estimate_requirements(planned))
    registration.run_of(registration.jobs[0])
    assert pipeline(["status", "mine"]) == 0
    assert "3 trials: 3 waiting" in capsys.readouterr().out
    with claimed(Path("trials") / registration.jobs[0].key):
        assert pipeline(["stop", "mine", "b"]) == 0
    assert "b, seed 0: will be skipped" in capsys.readouterr().out
    assert (Path("trials") / registration.jobs[1].key / "stop").exists()


def test_a_request_to_stop_a_trial_without_a_run_reaches_a_sweep_of_another_folder(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a tag of the run, which the sweep takes over and does not withdraw."""
    from pipeline.cli import stop as module

    monkeypatch.setattr(module, "uses_leases", lambda uri: True)
    planned = plan()
    registration = Registration(planned, estimate_requirements(planned))
    registration.run_of(registration.jobs[0])
    with claimed(Path("trials") / registration.jobs[0].key):
        assert pipeline(["stop", "mine", "b"]) == 0
    run = MlflowClient(planned.tracker.uri).get_run(registration.run_of(registration.jobs[1]))
    assert run.data.tags["stop_requested"] == "yes" and run.data.params["model.temperature"] == "0.5"
    assert len(planned.tracker.find_trials()) == 2


def test_a_run_that_was_dropped_while_its_trial_waited_is_created_again(plan: Callable[..., Plan]) -> None:
    planned = plan()
    register_trials(planned, estimate_requirements(planned))
    again = plan()
    registration = Registration(again, estimate_requirements(again))
    first = registration.run_of(registration.jobs[0])
    again.tracker.delete_trial(first)
    assert registration.run_of(registration.jobs[0]) != first


def job_of(plan: Plan) -> TrialJob:
    return replace(Registration(plan, estimate_requirements(plan)).jobs[0], key="a")


def test_runs_are_asked_for_ahead_and_once_while_ray_goes_on(plan: Callable[..., Plan]) -> None:
    job, answers = job_of(plan()), threading.Event()
    asked: list[str] = []

    def run_of(job: TrialJob) -> str:
        asked.append(job.key)
        answers.wait(10)
        return f"run of {job.key}"

    runs, jobs = RunsAhead(run_of), [replace(job, key=key) for key in "ab"]
    runs.ask(jobs)
    assert runs.find(jobs[0]) is None, "the store has not answered"
    answers.set()
    until(lambda: runs.find(jobs[1]) is not None)
    assert [runs.find(job) for job in jobs] == ["run of a", "run of b"] and asked == ["a", "b"]
    assert runs.find(replace(job, key="c", run_id="known")) == "known" and asked == ["a", "b"]


def test_an_error_of_the_store_is_raised_where_the_run_is_needed(plan: Callable[..., Plan]) -> None:
    def run_of(job: TrialJob) -> str:
        raise UserError("the MLflow store does not answer")

    runs, job = RunsAhead(run_of), job_of(plan())
    runs.ask([job])
    with pytest.raises(UserError, match="does not answer"):
        until(lambda: runs.find(job) is not None)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_creates_a_run_gives_it_its_tags_at_once(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that ends between two calls leaves no run that belongs to no row."""
    planned = plan()
    registration = Registration(planned, estimate_requirements(planned))

    def end(self: StoreClient, *arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreClient, "update_run", end)
    with pytest.raises(KeyboardInterrupt):
        registration.run_of(registration.jobs[0])
    (record,) = Tracker(*vars_of(planned.tracker)).find_trials().values()
    assert record.tags["row.mine"] == "a"


def vars_of(tracker: Tracker) -> tuple[str, str, str, object]:
    return tracker.uri, tracker.experiment, tracker.artifact_root, tracker.lock
