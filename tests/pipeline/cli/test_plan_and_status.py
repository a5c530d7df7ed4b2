"""What commands that only look leave behind, how often a sweep reads the store, and the notes of a plan."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.__main__ import main as pipeline
from pipeline.cli.plan import _notes
from pipeline.config.sweep_file import load_sweep
from pipeline.hardware.device import Machine
from pipeline.orchestration import forecast
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.tracking.store import Tracker
from pipeline.trial.lock import claimed

MINE = """
name: mine
question: Which is best?
seeds: [1]
rows: [{row: CUT, set: {}}, {row: CycleGAN, set: {model: cyclegan}}]
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each method of `Tracker` was called."""
    counts: Counter[str] = Counter()

    def count(name: str, method: Callable[..., object]) -> None:
        def counted(self: Tracker, *args: object, **kwargs: object) -> object:
            counts[name] += 1
            return method(self, *args, **kwargs)

        monkeypatch.setattr(Tracker, name, counted)

    for name in ("find_trials", "create_trial", "log_settings"):
        count(name, getattr(Tracker, name))
    return counts


def test_a_plan_for_a_gpu_says_that_its_defaults_were_not_measured(project: Path) -> None:
    planned = plan_sweep(load_sweep("smoke"), ["compute.device=cpu", "data.train_count=6", "data.test_count=6"])
    on_a_gpu = replace(planned, machine=Machine("cuda", "H100", cores=16, gpus=1, memory_gb=80.0))
    line = "CUDA defaults: channels last, CUDA graphs and compiling are off; they were not measured on this card yet."
    assert line in _notes(on_a_gpu, [])
    assert line not in _notes(planned, [])


def test_a_plan_in_a_fresh_folder_makes_no_database(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    (project / "mlflow.db").unlink()
    assert pipeline(["plan", "smoke", *tiny_overrides]) == 0
    assert not list(project.glob("mlflow*"))
    assert not (project / "mlartifacts").exists()


def test_a_plan_in_a_store_makes_no_experiment(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    assert pipeline(["plan", "smoke", *tiny_overrides]) == 0
    client = MlflowClient(f"sqlite:///{(project / 'mlflow.db').absolute()}")
    assert client.get_experiment_by_name("stripes") is None


def test_a_status_in_a_fresh_folder_makes_no_database(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "mlflow.db").unlink()
    assert pipeline(["status", "smoke"]) == 2
    assert "no such database" in capsys.readouterr().err
    assert not list(project.glob("mlflow*"))


def test_a_status_takes_the_file_of_a_sweep(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    register(project, tiny_overrides)
    for name in ("mine", "sweeps/mine.yaml", "elsewhere/mine.yaml"):
        assert pipeline(["status", name]) == 0
        assert "2 trials: 2 waiting" in capsys.readouterr().out


def test_a_watched_status_in_a_pipe_is_printed_until_no_trial_runs(
    project: Path, tiny_overrides: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    register(project, tiny_overrides)
    key = plan_sweep(load_sweep("mine"), tiny_overrides).trials[0].key
    watch = (
        "import sys; from pipeline.cli import status; status.SECONDS_BETWEEN_TABLES = 0.05; "
        "from pipeline.__main__ import main; sys.exit(main(['status', 'mine', '--watch']))"
    )
    with claimed(Path("trials") / key):
        process = subprocess.Popen([sys.executable, "-c", watch], stdout=subprocess.PIPE, text=True)
        request.addfinalizer(process.kill)
        assert process.stdout is not None
        # Lines come while it runs.
        counts = list(islice((line for line in process.stdout if line.startswith("2 trials")), 2))
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert counts == ["2 trials: 1 running, 1 waiting\n"] * 2
    assert rest.splitlines()[-1] == "2 trials: 2 waiting"
    assert "\x1b" not in rest


def test_a_watched_status_of_which_no_trial_runs_is_printed_once(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    register(project, tiny_overrides)
    assert pipeline(["status", "mine", "--watch"]) == 0
    assert capsys.readouterr().out.count("2 trials: 2 waiting") == 1


def register(project: Path, overrides: tuple[str, ...]) -> None:
    (project / "sweeps/mine.yaml").write_text(MINE)
    plan = plan_sweep(load_sweep("mine"), overrides)
    register_trials(plan, estimate_requirements(plan))


def test_a_sweep_that_has_nothing_to_train_looks_up_its_trials_once(
    project: Path, tiny_overrides: tuple[str, ...], calls: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    register(project, tiny_overrides)
    client = MlflowClient(f"sqlite:///{(project / 'mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"):
        client.set_terminated(run.info.run_id, "FINISHED")
    assert calls == {"find_trials": 2, "create_trial": 2, "log_settings": 2}
    calls.clear()
    assert pipeline(["sweep", "mine", *tiny_overrides]) == 0
    assert "mine: nothing to train (2 done)" in capsys.readouterr().out
    assert calls == {"find_trials": 1}


def test_of_two_plans_made_at_once_only_one_creates_each_trial(
    project: Path, tiny_overrides: tuple[str, ...], calls: Counter[str]
) -> None:
    """From nothing: the store is created after both plans were made."""
    (project / "mlflow.db").unlink()
    (project / "sweeps/mine.yaml").write_text(MINE)
    plans = [plan_sweep(load_sweep("mine"), tiny_overrides) for _ in range(2)]
    first, second = (register_trials(plan, estimate_requirements(plan)) for plan in plans)
    assert calls["create_trial"] == 2
    assert [job.run_id for job in first] == [job.run_id for job in second]


def test_a_plan_draws_no_large_set_of_images(project: Path) -> None:
    (project / "sweeps/mine.yaml").write_text(MINE)
    large = ["data.size=1024", "data.train_count=4", "data.test_count=2", "model.generator.channels=4"]
    planned = plan_sweep(load_sweep("mine"), large, without_data=True)
    assert (planned.data, planned.train_images, planned.test_images) == (None, 4, 2)
    assert not list(Path(".cache").glob("data/*"))
    notes = _notes(planned, [], verbose=False)
    assert any("not drawn yet" in note for note in notes)


def test_a_plan_says_how_many_seeds_would_tell_recorded_rows_apart(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (*tiny_overrides, "seeds=[0,1,2]")
    register(project, overrides)
    client = MlflowClient(f"sqlite:///{(project / 'mlflow.db').absolute()}")
    done = plan_sweep(load_sweep("mine"), overrides).trials
    for planned in done:
        assert planned.record is not None
        shift = 1.0 + planned.trial.seed if planned.trial.row == "CycleGAN" else 0.0
        client.log_metric(planned.record.run_id, "last/fd_small_conv", 10.0 + shift)
        if planned.trial.seed != 1:
            client.set_terminated(planned.record.run_id, "FINISHED")
    assert pipeline(["plan", "mine", *tiny_overrides, "seeds=[0,1]"]) == 0
    assert "Seeds needed" not in capsys.readouterr().out
    assert pipeline(["plan", "mine", *overrides]) == 0
    assert "FD (small-conv): “CycleGAN” 7 / 18 (difference +2.00, spread 1.41, 2 seeds)." in capsys.readouterr().out


def test_runs_of_one_row_and_seed_with_other_settings_have_names_of_their_own(
    project: Path, tiny_overrides: tuple[str, ...]
) -> None:
    register(project, tiny_overrides)
    register(project, (*tiny_overrides, "train.learning_rate=0.0003"))
    client = MlflowClient(f"sqlite:///{(project / 'mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    names = sorted(str(run.info.run_name) for run in runs)
    assert len(set(names)) == len(names) == 4
    assert all(other.startswith(f"{first}, ") for first, other in zip(names[::2], names[1::2], strict=True))


def test_a_long_plan_offers_what_shortens_it_and_a_short_one_does_not(
    project: Path,
    tiny_overrides: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = [*tiny_overrides, "data.size=64", "train.constant_epochs=4", "seeds=[2,1]"]
    overrides = list({text.partition("=")[0]: text for text in overrides}.values())

    def offered(operations_per_second: float) -> dict[str, str]:
        monkeypatch.setattr(forecast, "_rate", lambda *_: operations_per_second)
        assert pipeline(["plan", "smoke", *overrides]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        return {line.split("   about")[0].strip(): line for line in lines}

    assert not offered(1e12)
    found = offered(1e5)
    assert list(found) == ["'seeds=[2]'", "train.constant_epochs=2 train.decay_epochs=0", "data.size=32"]
    assert "no conclusions" in found["'seeds=[2]'"]


def test_a_plan_that_has_trained_offers_only_fewer_seeds(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(project, tiny_overrides)
    monkeypatch.setattr(forecast, "_rate", lambda *_: 1e5)
    assert pipeline(["plan", "mine", *tiny_overrides, "seeds=[0,1]"]) == 0
    said = capsys.readouterr().out
    assert "'seeds=[0]'" in said and "data.size=" not in said.split("To shorten it")[1]
