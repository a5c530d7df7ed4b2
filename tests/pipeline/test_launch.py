"""Whole sweeps under Ray, in processes of their own; what a kill leaves behind, and what a failure does."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow

SWEEP = """
name: pair
question: Do two trials end?
base: [task=stripes, data.train_count=40, data.test_count=8, data.size=32, model.generator.channels=4,
       model.discriminator.channels=4, train.constant_epochs=4, train.decay_epochs=1, train.log_every_steps=10]
seeds: [0]
rows:
  - {row: internal, set: {model.negatives: [internal]}}
  - {row: external, set: {model.negatives: [external]}}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300)


def trials() -> list[Run]:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")


@pytest.fixture
def pair(project: Path) -> Path:
    (project / "sweeps/pair.yaml").write_text(SWEEP)
    return project


def test_a_sweep_ends_with_its_table_and_the_same_command_again_trains_nothing(pair: Path) -> None:
    first = run("sweep", "pair")
    assert first.returncode == 0, first.stdout + first.stderr
    table = pair / "results/pair/stripes/table.md"
    written = table.read_bytes()
    assert str(table.relative_to(pair)) in first.stdout
    for row in ("source, untranslated", "internal", "external"):
        assert f"| {row} " in written.decode()
    before = {trial.info.run_id: trial.info.end_time for trial in trials()}

    again = run("sweep", "pair")
    assert again.returncode == 0
    assert "nothing to train" in again.stdout
    assert table.read_bytes() == written
    assert {trial.info.run_id: trial.info.end_time for trial in trials()} == before


def test_a_killed_sweep_is_carried_on_by_the_same_command(pair: Path) -> None:
    killed = subprocess.Popen(command("sweep", "pair"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(pair.glob("trials/*/last.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    time.sleep(8)  # Ray's workers notice that their driver is gone within seconds
    assert Counter(trial.info.status for trial in trials())["RUNNING"] >= 1
    assert "will go on" in run("plan", "pair").stdout

    carried_on = run("sweep", "pair")
    assert carried_on.returncode == 0, carried_on.stdout + carried_on.stderr
    assert [trial.info.status for trial in trials()] == ["FINISHED"] * 2
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    for trial in trials():
        for name in trial.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(trial.info.run_id, name)]
            assert len(steps) == len(set(steps)), name


def test_a_failing_trial_stops_no_other_and_is_tried_again(pair: Path) -> None:
    whole = run("sweep", "pair", "seeds=[5]")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    keys = {trial.data.tags["row.pair"]: trial.data.tags["trial_key"] for trial in trials()}
    # The same trials before an empty store, one of them with a torn checkpoint.
    (pair / "mlflow.db").unlink()
    torn = pair / "trials" / keys["external"] / "last.pt"
    torn.write_bytes(torn.read_bytes()[:1000])

    failed = run("sweep", "pair", "seeds=[5]")
    assert failed.returncode == 1
    assert f"external, seed 5 is not done: {torn}: not a whole checkpoint" in failed.stdout
    assert "remove it to train this trial from the start" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    table = (pair / "results/pair/stripes/table.md").read_text()
    assert "- external, seed 5 failed" in table
    assert "| internal " in table

    torn.unlink()
    mended = run("sweep", "pair", "seeds=[5]")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "failed" not in (pair / "results/pair/stripes/table.md").read_text()


def test_more_than_the_machine_has_is_refused_before_anything_is_recorded(pair: Path) -> None:
    refused = run("sweep", "pair", "compute.cpus_per_trial=1000")
    assert refused.returncode == 2
    assert "error: compute.cpus_per_trial=1000: there are only" in refused.stderr
    assert trials() == []
