"""`just stop`: which trials it asks to end, what it says of the others, and how a running sweep obeys."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import SWEEP, assert_as_undisturbed, command, finish, results, start, trials, until
from mlflow import MlflowClient

from pipeline.__main__ import main as pipeline
from pipeline.cli import stop as module
from pipeline.cluster.ray_guard import STARTS
from pipeline.config.sweep_file import load_sweep
from pipeline.orchestration.planner import Plan, plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.orchestration.runner import withdraw_requests
from pipeline.trial.stop_request import STOP_FILE, request_stop

MINE = """
name: mine
question: Which is best?
seeds: [0, 1]
rows: [{row: CUT, set: {}}, {row: CycleGAN, set: {model: cyclegan}}]
"""
# Holds a trial's lock until its input ends. With a second argument, until the trial is asked to end.
TRAINS = f"""
import sys, time
from pathlib import Path
from pipeline.trial.lock import claimed
folder = Path(sys.argv[1])
with claimed(folder):
    print("trains", flush=True)
    while sys.argv[2:] and not (folder / {STOP_FILE!r}).exists():
        time.sleep(0.05)
    sys.argv[2:] or sys.stdin.read()
"""


@pytest.fixture
def plan(project: Path, tiny_overrides: tuple[str, ...]) -> Plan:
    """A sweep that is recorded; none of its trials runs."""
    (project / "sweeps/mine.yaml").write_text(MINE)
    planned = plan_sweep(load_sweep("mine"), tiny_overrides)
    register_trials(planned, estimate_requirements(planned))
    return planned


@contextmanager
def training(plan: Plan, row: str, seed: int, *, obeys: bool = False) -> Iterator[None]:
    """A process that holds the lock of a trial, like one that trains it."""
    arguments = [str(folder(plan, row, seed)), *(["obeys"] if obeys else [])]
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINS, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "trains\n"
    try:
        yield
    finally:
        process.communicate()


def folder(plan: Plan, row: str, seed: int) -> Path:
    (key,) = (found.key for found in plan.trials if (found.trial.row, found.trial.seed) == (row, seed))
    return Path("trials") / key


def asked(plan: Plan) -> set[tuple[str, int]]:
    """The trials that are asked to end."""
    every = [(found.trial.row, found.trial.seed) for found in plan.trials]
    return {trial for trial in every if (folder(plan, *trial) / STOP_FILE).exists()}


def end_as(status: str, key: str) -> None:
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    (run,) = (run for run in trials(uri) if run.data.tags["trial_key"] == key)
    MlflowClient(uri).set_terminated(run.info.run_id, status)


def test_a_sweep_that_does_not_run_is_not_asked(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline(["stop", "mine", "CUT"]) == 0
    assert capsys.readouterr().out.splitlines() == ["No trial of mine runs in trials/. Nothing to stop."]
    assert not Path("trials").exists() or not [file for file in Path("trials").rglob("*") if file.name == STOP_FILE]


def test_a_faulty_request_is_refused_in_one_line(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with training(plan, "CUT", 0):
        for arguments, said in (
            (["mien", "CUT"], "no sweep 'mien'"),
            (["mine", "CTU"], "mine: no row is called 'CTU'; did you mean CUT?"),
            (["mine", "CUT", "seeds=[2]"], "no trial has seed 2. Its seeds: 0, 1"),
            (["mine", "CUT", "seeds=1"], "list of whole numbers"),
            (["mine", "CUT", "task=cat2dog"], "mine: recorded for stripes. Choose one with task="),
            (["mine", "CUT", "model.temperature=0.1"], "model.temperature=0.1"),
            (["mine"], "the following arguments are required: ROW"),
        ):
            assert pipeline(["stop", *arguments]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line
        assert asked(plan) == set()


def test_the_trials_of_a_row_are_asked_and_no_others(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with training(plan, "CUT", 0, obeys=True):
        assert pipeline(["stop", "sweeps/mine.yaml", "CUT"]) == 0
    first, second, ended, again = capsys.readouterr().out.splitlines()
    assert (first, second) == ("CUT, seed 0: asked to save and to end", "CUT, seed 1: will be skipped")
    assert ended.startswith("CUT, seed 0: saved at step ")
    assert "just sweep mine task=stripes" in again
    assert asked(plan) == {("CUT", 0), ("CUT", 1)}


def test_a_row_that_only_waits_is_skipped_and_seeds_limit_the_request(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial that runs is of another row and of another seed."""
    with training(plan, "CUT", 0):
        assert pipeline(["stop", "mine", "CycleGAN", "seeds=[1]"]) == 0
    assert "CycleGAN, seed 1: will be skipped" in capsys.readouterr().out
    assert asked(plan) == {("CycleGAN", 1)}


def test_ended_trials_are_named_and_not_asked(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    end_as("FINISHED", folder(plan, "CUT", 0).name)
    end_as("FAILED", folder(plan, "CUT", 1).name)
    with training(plan, "CycleGAN", 0):
        assert pipeline(["stop", "mine", "CUT"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "CUT, seed 0: done" and second.startswith("CUT, seed 1: failed")
    assert asked(plan) == set()


def test_a_trial_that_does_not_end_soon_is_not_waited_for_any_longer(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", 0.0)
    with training(plan, "CUT", 0):
        assert pipeline(["stop", "mine", "CUT", "seeds=[0]"]) == 0
    assert "CUT, seed 0: still runs" in capsys.readouterr().out
    assert asked(plan) == {("CUT", 0)}


def test_status_names_a_trial_that_was_stopped_by_request(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with training(plan, "CUT", 0):
        assert pipeline(["stop", "mine", "CycleGAN"]) == 0
    capsys.readouterr()
    assert pipeline(["status", "mine"]) == 0
    assert "4 trials: 2 waiting, 2 stopped" in capsys.readouterr().out


def test_a_sweep_that_is_given_again_withdraws_requests_and_one_that_starts_ray_anew_keeps_them(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = register_trials(plan, estimate_requirements(plan))
    request_stop(folder(plan, "CUT", 1))
    assert register_trials(plan, estimate_requirements(plan)) == jobs
    assert asked(plan) == {("CUT", 1)}, "a search registers its trials while it runs"
    monkeypatch.setenv(STARTS, "1")
    withdraw_requests(jobs)
    assert asked(plan) == {("CUT", 1)}
    monkeypatch.delenv(STARTS)
    withdraw_requests(jobs)
    assert asked(plan) == set()


@pytest.mark.slow
def test_just_train_withdraws_a_request_and_obeys_a_later_one(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    overrides = (*tiny_overrides, "train.constant_epochs=1000")
    trial = Path("trials") / plan_sweep(load_sweep("smoke"), overrides).trials[0].key
    request_stop(trial)
    train = start("train", *overrides)
    try:
        until(lambda: not (trial / STOP_FILE).exists())
        request_stop(trial)
        said, _ = train.communicate(timeout=120)
    finally:
        train.kill()
    assert train.returncode == 1 and "Stopped by request (just stop)" in said


@pytest.mark.slow
def test_a_row_of_a_running_sweep_stops_and_the_same_command_ends_it_with_the_same_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials run at once: the first seed of both rows. The second seed of the stopped row waits."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sweep_file = SWEEP.replace("seeds: [0]", "seeds: [0, 1]").replace("constant_epochs=5", "constant_epochs=9")
    for name in ("undisturbed", "stopped"):
        (tmp_path / name / "sweeps").mkdir(parents=True)
        (tmp_path / name / "sweeps/pair.yaml").write_text(sweep_file)
    monkeypatch.chdir(tmp_path / "undisturbed")
    assert finish(f"sqlite:///{tmp_path}/undisturbed/mlflow.db") == 1
    undisturbed = results()

    monkeypatch.chdir(tmp_path / "stopped")
    uri = f"sqlite:///{tmp_path}/stopped/mlflow.db"
    sweep = start("sweep", "pair")
    until(lambda: len(list(Path("trials").glob("*/last.pt"))) == 2)
    stopped = subprocess.run(command("stop", "pair", "external"), capture_output=True, text=True)
    said, errors = sweep.communicate(timeout=300)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "external, seed 0: saved at step" in stopped.stdout, stopped.stdout + said + errors
    assert "external, seed 1: will be skipped" in stopped.stdout
    assert sweep.returncode == 1 and "Traceback" not in said + errors, said + errors
    log = Path("logs/pair-stripes.log").read_text()
    for seed in (0, 1):
        assert f"external, seed {seed}: stopped by request" in said and f"external, seed {seed}: stopped by" in log
        assert f"external, seed {seed} is not done: it was stopped by request" in said
    assert sorted(run.info.status for run in trials(uri)) == ["FINISHED", "FINISHED", "RUNNING", "SCHEDULED"]

    assert finish(uri) == 1
    assert all("cost/steps_repeated" not in run.data.metrics for run in trials(uri)), "a step was trained twice"
    assert_as_undisturbed(results(), undisturbed)
    assert not list(Path("trials").rglob(STOP_FILE))
