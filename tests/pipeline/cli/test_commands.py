"""The commands as a user types them, without Ray: what is refused, what is planned, what is rebuilt."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from pipeline.__main__ import main as pipeline
from pipeline.data.image_io import write_png
from pipeline.trial.lock import claimed

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


FEW = ("data.train_count=6", "data.test_count=6", "data.size=32")
# A machine with CUDA has nothing to refuse there.
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "ablation_negative"], "no sweep is called 'ablation_negative'; did you mean ablation_negatives"),
        (["sweep", "smoke", "task=strips"], "did you mean stripes?"),
        (["sweep", "smoke", "model.temprature=1"], "command line: no field is called 'model.temprature'"),
        (["sweep", "smoke", "train.batch_size=many"], "train.batch_size is 'many'"),
        (
            ["sweep", "ablation_negatives", "task=horse2zebra"],
            "data.root=datasets/horse2zebra: no such folder. Run: just data horse2zebra",
        ),
        (["sweep", "ablation_negatives", "task=folder", "data.root=here"], "here/trainB: 1 images found"),
        (["plan", "smoke", "seeds=all"], "list of whole numbers"),
        (["train", "data.train_count=3", "train.batch_size=4"], "train.batch_size is 4, but there are only 3 images"),
        (["train", "model.temperature=0"], "temperature is 0"),
        (["train", "seed=abc"], "seed is 'abc'"),
        pytest.param(["train", "compute.device=cuda"], "compute.device=cuda: torch ", marks=NO_CUDA),
        (["train", "train.learning_rate=inf"], "train.learning_rate is inf"),
        (["sweep", "smoke", "tracking.uri=nonsense://x"], "tracking.uri=nonsense://x"),
        (["sweep"], "the following arguments are required: NAME"),
        (["sweep", "smoke", "--loud"], "unrecognized arguments: --loud"),
        (["sweep", "smoke", *FEW, "compute.cpus_per_trial=1000"], "compute.cpus_per_trial=1000"),
        pytest.param(
            ["plan", "smoke", *FEW, "compute.memory_gb=0.1"],
            "sweeps/smoke.yaml, row 'CUT': a trial needs",
            marks=pytest.mark.slow,
        ),
        (["plan", "ablation_negatives", "task=folder", "data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["data", "horse2zebras"], "did you mean horse2zebra"),
        (["paln", "smoke"], "no command is called 'paln'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_faulty_commands_say_one_line_exit_2_and_record_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    for split in ("trainA", "trainB", "testA", "testB"):
        (project / "here" / split).mkdir(parents=True)
        (project / "here" / split / "1.png").touch()
        if split != "trainB":
            (project / "here" / split / "2.png").touch()
    assert pipeline(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    # Without the published weights and a network, tasks with FID have a second fault.
    assert len([line for line in lines if "Inception's weights" not in line]) == 1
    assert all(line.startswith("error: ") for line in lines)
    assert said in lines[0]
    assert recorded_runs() == 0


@pytest.fixture
def trained(trained_project: Path, tiny_overrides: tuple[str, ...]) -> list[str]:
    """The plan of a sweep, one of whose four trials is trained."""
    (trained_project / "sweeps/mine.yaml").write_text(SWEEP)
    return ["plan", "mine", *tiny_overrides]


def test_train_says_where_it_trains_and_how_far_it_is(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline(["train", *tiny_overrides]) == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("Running on the CPU (") and first.endswith("cores): compute.device=cpu.")
    assert "step" in second


def test_plan_shows_what_is_done_and_trains_nothing(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    before = recorded_runs()
    assert pipeline(trained) == 0
    said = capsys.readouterr().out
    assert "4 trials, 1 done, 3 to train" in said
    states = [line.split("│")[1:5] for line in said.splitlines() if "│" in line and "┃" not in line]
    shown = {(row.strip(), seed.strip()): state.strip() for row, seed, _, state in states}
    assert shown == {
        ("CUT", "0"): "to train",
        ("CycleGAN", "0"): "to train",
        ("CUT", "1"): "done",
        ("CycleGAN", "1"): "to train",
    }
    assert "0.00 core-hours" in said
    assert recorded_runs() == before


def test_translate_says_which_network_it_uses_and_what_it_wrote(
    trained: list[str], pictures: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = (path.parent.name for path in Path("trials").glob("*/last.pt"))
    for number, image in enumerate(pictures(0, striped=False, count=3)):
        write_png(Path(f"in/{number}.png"), image.transpose(1, 2, 0))
    assert pipeline(["translate", key[:8], "in", "out"]) == 0
    network, written = capsys.readouterr().out.splitlines()
    assert network == (
        f"trials/{key}/last.pt: CUT, row 'single' of single, seed 1, trained on stripes at 32 x 32 to step 12."
    )
    assert written == "Wrote 3 images to out"
    assert len(list(Path("out").glob("*.png"))) == 3
    elsewhere = "tracking.uri=sqlite:///no.db"
    assert pipeline(["translate", f"trials/{key}/last.pt", "in/0.png", "out/a.png", elsewhere]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "Wrote 1 image to out/a.png"
    assert not Path("no.db").exists()


def test_a_plan_for_scripts_has_every_number(trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline([*trained, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    states = {(trial["row"], trial["seed"]): trial["state"] for trial in said["trials"]}
    assert states == {("CUT", 0): "new", ("CycleGAN", 0): "new", ("CUT", 1): "done", ("CycleGAN", 1): "new"}
    sources = {(trial["row"], trial["seed"]): trial["seconds_source"] for trial in said["trials"]}
    # One trial of CUT has been measured by now, on as many threads as the sweep will use or on another number.
    assert sources["CycleGAN", 0] == "counted"
    assert sources["CUT", 1] == ""
    left = [trial for trial in said["trials"] if trial["state"] != "done"]
    assert all(trial["seconds_left"] > 0 and trial["memory_gb"] > 0.5 for trial in left)
    assert said["wall_seconds"] <= sum(trial["seconds_left"] for trial in left)
    assert all(trial["reference_live_gb"] >= trial["live_gb"] for trial in left if trial["row"] == "CUT")


def finish_as(status: str, **tags: str) -> None:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    for name, value in tags.items():
        client.set_tag(run.info.run_id, name, value)
    client.update_run(run.info.run_id, status=status)


def test_a_failed_trial_is_tried_again_when_asked(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    finish_as("FAILED", error="the disk was full")
    assert pipeline(trained) == 0
    said = capsys.readouterr().out
    assert "failed (the disk was full); to retry, add retry=failed" in said
    assert "4 trials, 0 done, 3 to train" in said
    assert pipeline([*trained, "retry=failed"]) == 0
    said = capsys.readouterr().out
    assert "failed (the disk was full), will retry" in said
    assert "4 trials, 0 done, 4 to train" in said


def test_a_trial_that_a_search_stopped_goes_on_in_an_ablation(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    finish_as("KILLED", stopped="by the search after epoch 1")
    assert pipeline(trained) == 0
    said = capsys.readouterr().out
    assert "stopped by the search after epoch 1, resumable at step 12" in said
    assert "4 trials, 0 done, 4 to train" in said


def test_status_says_what_became_of_each_trial(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert pipeline(["status", "single"]) == 0
    said = capsys.readouterr().out
    assert "stripes" in said and "done" in said and "1 trial: 1 done" in said
    finish_as("FAILED", error="no room")
    assert pipeline(["status", "single", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["row"], line["seed"], line["state"]) == ("single", 1, "failed: no room")
    finish_as("RUNNING")
    assert pipeline(["status", "single"]) == 0
    assert "interrupted at step 12" in capsys.readouterr().out
    with claimed(Path("trials") / line["key"]):
        assert pipeline(["status", "single"]) == 0
        assert "running" in capsys.readouterr().out
        assert pipeline(trained) == 0
        assert "training now, step 12" in capsys.readouterr().out
    assert pipeline(["status", "unknown"]) == 2
    assert "no sweep 'unknown'" in capsys.readouterr().err


def test_dropping_a_row_asks_first_and_forgets_its_trials_alone(
    trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    drop = ["drop", *trained[1:]]
    drop.insert(2, "CUT")
    assert pipeline(drop) == 2
    captured = capsys.readouterr()
    assert "CUT, seed 1: " in captured.out and "also in single: single" in captured.out
    assert "Pass --yes" in captured.err
    assert len(list(Path("trials").glob("*/last.pt"))) == 1
    assert pipeline([*drop, "--yes"]) == 0
    said = capsys.readouterr().out
    assert "Dropped 1 trial." in said and "Writing the report" not in said
    assert not list(Path("trials").glob("*/last.pt"))
    assert pipeline(trained) == 0
    assert "4 trials, 0 done, 4 to train" in capsys.readouterr().out
    assert pipeline([*drop, "--yes"]) == 0
    assert "CUT: no trial is recorded" in capsys.readouterr().out
    drop[2] = "CTU"
    assert pipeline(drop) == 2
    assert "no row is called 'CTU'; did you mean CUT" in capsys.readouterr().err


def test_a_trial_whose_lock_is_held_is_not_dropped(trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint,) = Path("trials").glob("*/last.pt")
    before = recorded_runs()
    with claimed(checkpoint.parent):
        assert pipeline(["drop", "mine", "CUT", *trained[2:], "--yes"]) == 2
        assert f"Trial {checkpoint.parent.name} is running in another process" in capsys.readouterr().err
    assert checkpoint.exists() and recorded_runs() == before
    assert pipeline(["drop", "mine", "CUT", *trained[2:], "--yes"]) == 0
    assert not checkpoint.parent.exists()


def test_a_trained_trial_is_not_trained_again(
    trained: list[str], tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline(["train", *tiny_overrides, "seed=1"]) == 0
    assert "nothing to train" in capsys.readouterr().out


def test_rows_share_the_metric(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "sweeps/mine.yaml").write_text(
        SWEEP.replace("{model: cyclegan}", "{metric.extractor: inception-v3-compat}")
    )
    assert pipeline(["plan", "mine"]) == 2
    assert "sweeps/mine.yaml, row 'CycleGAN': sets 'metric.extractor', which all rows" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_is_said_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    assert pipeline(["tables", "mine"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_interrupted_trial_may_go_on_with_other_settings_that_cannot_change_its_result(
    trained: list[str], tiny_overrides: tuple[str, ...]
) -> None:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    client.update_run(run.info.run_id, status="RUNNING")
    assert pipeline(["train", *tiny_overrides, "seed=1", "metric.batch_size=3", "train.checkpoint_every_epochs=2"]) == 0
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_tables_of_an_unknown_sweep_say_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["tables", "mine"], ["tables", "mine", "--task", "stripes"]):
        assert pipeline(arguments) == 2
        assert "no sweep 'mine'" in capsys.readouterr().err


def test_tables_are_rebuilt_from_the_records_byte_for_byte(trained_project: Path) -> None:
    assert pipeline(["tables", "single"]) == 0
    folder = trained_project / "results/single/stripes"

    def written() -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    first = written()
    assert {"index.html", "table.md", "table.tex", "table.html", "table.csv", "trials.csv", "course.csv"} < set(first)
    assert {"figures/course.svg", "figures/dots.png", "figures/qualitative.png"} < set(first)
    assert "All rows use data.train\\_count=6" in (folder / "table.md").read_text()
    shutil.rmtree(trained_project / "results")
    assert pipeline(["tables", "single"]) == 0
    assert written() == first
