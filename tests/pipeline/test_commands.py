"""The commands as a user types them, without Ray: what is refused, what is planned, what is rebuilt."""

from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from analysis.__main__ import main as analysis
from pipeline.__main__ import main as pipeline

SWEEP = """
name: mine
question: Which seed is best?
seeds: [0, 1]
rows:
  - {row: CUT, set: {model: cut}, paper: "Table 1: CUT"}
  - {row: CycleGAN, set: {model: cyclegan}}
"""


def recorded_runs() -> int:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    return len(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


# A machine with CUDA has nothing to refuse there.
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "ablation_negative"], "no sweep is called 'ablation_negative'; did you mean ablation_negatives"),
        (["sweep", "smoke", "task=strips"], "did you mean stripes?"),
        (["sweep", "smoke", "model.temprature=1"], "command line: no field is called 'model.temprature'"),
        (["sweep", "smoke", "train.batch_size=many"], "train.batch_size is 'many'"),
        (["sweep", "ablation_negatives", "task=horse2zebra"], "datasets/horse2zebra/trainA: no such folder"),
        (["sweep", "ablation_negatives", "task=folder", "data.root=here"], "here/trainB: 1 images found"),
        (["plan", "smoke", "seeds=all"], "seeds are a list of whole numbers"),
        (["train", "data.train_count=3", "train.batch_size=4"], "train.batch_size is 4, but there are only 3 images"),
        (["train", "model.temperature=0"], "temperature is 0"),
        (["train", "seed=abc"], "seed is 'abc'; it must be a whole number"),
        pytest.param(["train", "compute.device=cuda"], "compute.device=cuda: torch sees no CUDA", marks=NO_CUDA),
        (["train", "train.learning_rate=inf"], "train.learning_rate is inf; numbers must be finite"),
        (["sweep", "smoke", "tracking.uri=nonsense://x"], "tracking.uri=nonsense://x"),
    ],
)
def test_faulty_commands_say_one_line_exit_2_and_record_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (project / "here/trainA").mkdir(parents=True)
    (project / "here/trainB").mkdir()
    for file in ("trainA/1.png", "trainA/2.png", "trainB/1.png"):
        (project / "here" / file).touch()
    assert pipeline(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert recorded_runs() == 0


@pytest.fixture
def trained(project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """One of the four trials of a sweep, trained in this process."""
    (project / "sweeps/mine.yaml").write_text(SWEEP)
    assert pipeline(["train", *tiny_overrides, "seed=1"]) == 0
    capsys.readouterr()
    return ["plan", "mine", *tiny_overrides]


def test_plan_shows_what_is_done_and_trains_nothing(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    before = recorded_runs()
    assert pipeline(trained) == 0
    said = capsys.readouterr().out
    assert "4 trials, 1 done, 3 to train" in said
    states = [line.split("│")[1:5] for line in said.splitlines() if "│" in line]
    shown = {(row.strip(), seed.strip()): state.strip() for row, seed, _, state in states}
    assert shown == {
        ("CUT", "0"): "to train",
        ("CycleGAN", "0"): "to train",
        ("CUT", "1"): "done",
        ("CycleGAN", "1"): "to train",
    }
    assert recorded_runs() == before


def test_a_trained_trial_is_not_trained_again(
    trained: list[str], tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline(["train", *tiny_overrides, "seed=1"]) == 0
    assert "nothing to train" in capsys.readouterr().out


def test_rows_that_differ_in_metric_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "sweeps/mine.yaml").write_text(
        SWEEP.replace("{model: cyclegan}", "{metric.extractor: inception-v3-compat}")
    )
    assert pipeline(["plan", "mine"]) == 2
    assert "sweeps/mine.yaml: rows 'CUT' and 'CycleGAN' differ in metric" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_is_said_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    assert analysis(["tables", "mine"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_interrupted_trial_may_go_on_with_other_settings_that_cannot_change_its_result(
    trained: list[str], tiny_overrides: tuple[str, ...], project: Path
) -> None:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    client.update_run(run.info.run_id, status="RUNNING")
    assert pipeline(["train", *tiny_overrides, "seed=1", "metric.batch_size=3", "train.checkpoint_every_epochs=2"]) == 0
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_tables_of_an_unknown_sweep_say_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analysis(["tables", "mine"]) == 2
    assert "no sweep 'mine' is recorded" in capsys.readouterr().err
    assert analysis(["tables", "mine", "--task", "stripes"]) == 2
    assert "nothing is recorded for task 'stripes'" in capsys.readouterr().err


def test_tables_are_rebuilt_from_the_records_byte_for_byte(trained: list[str], project: Path) -> None:
    assert analysis(["tables", "single"]) == 0
    files = sorted((project / "results/single/stripes").iterdir())
    assert [file.name for file in files] == ["table.csv", "table.md", "table.tex"]
    assert "All rows with data.train_count=6" in files[1].read_text()
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    assert analysis(["tables", "single"]) == 0
    assert [file.read_bytes() for file in files] == first
