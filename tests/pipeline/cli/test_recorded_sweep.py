"""A sweep that was run: commands find it by its name and by its file, and the seeds that it has stay visible."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from projects import copy_project

from analysis.cli import compare
from analysis.records.schema import SweepRecord
from pipeline.__main__ import main as pipeline
from pipeline.config.sweep_file import load_sweep

SWEEP = "name: mine\nquestion: Which?\nseeds: [1]\nrows:\n  - {row: CUT, set: {model: cut}}\n"
SEARCH = f"""{SWEEP}  - {{row: CycleGAN, set: {{model: cyclegan}}}}
search:
  samples: 2
  space: {{model.temperature: {{loguniform: [0.01, 0.5]}}}}
"""


@pytest.fixture(scope="module")
def recorded(trained_once: Path, tiny_overrides: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep that was run from a file outside sweeps/."""
    with pytest.MonkeyPatch.context() as patch:
        folder = copy_project(trained_once, tmp_path_factory.mktemp("recorded"), patch)
        (folder / "own").mkdir()
        (folder / "own/mine.yaml").write_text(SWEEP)
        assert pipeline(["sweep", "own/mine.yaml", *tiny_overrides]) == 0
    return folder


@pytest.fixture
def trained(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_project(recorded, tmp_path, monkeypatch)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("given", ["mine", pytest.param("own/mine.yaml", marks=pytest.mark.slow)])
def test_commands_find_the_record_by_name_and_by_file(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline(["status", given]) == 0
    assert "1 trial: 1 done" in capsys.readouterr().out
    assert pipeline(["tables", given]) == 0
    assert Path("results/mine/stripes/index.html").exists()
    assert pipeline(["compare", given, "mine@1"]) == 0
    assert capsys.readouterr().out
    assert pipeline(["drop", given, "CUT", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "Dropped 1 trial" in said
    # The report no longer has its numbers. A trial of `just train` has none.
    assert said.count("Writing the report") == 1 and "Writing the report of mine again" in said
    assert "No trial is finished yet." in Path("results/mine/stripes/index.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_the_saved_view_shows_the_trials_of_the_table(tiny_overrides: tuple[str, ...]) -> None:
    """A trial of a row's earlier value leaves both, and comes back with the value."""
    sweep = ["sweep", "own/mine.yaml", *tiny_overrides]
    assert pipeline(["train", *tiny_overrides, "model.temperature=0.5", "seed=1"]) == 0
    for override in ([], ["model.temperature=0.5"], []):
        assert pipeline([*sweep, *override]) == 0
        client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
        experiment = client.get_experiment_by_name("stripes")
        assert experiment is not None
        view = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.mine"])["state"])
        shown = client.search_runs([experiment.experiment_id], view["searchFilter"])
        table = pd.read_csv("results/mine/stripes/trials.csv")
        assert [run.data.tags["trial_key"] for run in shown] == list(table["key"])
        assert shown[0].data.params["model.temperature"] == ("0.5" if override else "0.07")


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_a_report_is_written_again_only_if_a_record_or_a_file_has_changed(
    tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, client = Path("results/mine/stripes"), MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    capsys.readouterr()

    def swept() -> tuple[bool, list[str]]:
        assert pipeline(["sweep", "own/mine.yaml", *tiny_overrides]) == 0
        said = capsys.readouterr().out.splitlines()
        return "Writing tables, figures and the report." in said, said[-8:]

    # The records have been copied: they have another address.
    assert swept()[0]
    written, end = swept()
    assert not written and f"Report: {folder.absolute() / 'index.html'}" in end
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    for change in (
        lambda: (folder / "index.html").write_text("edited"),
        lambda: (folder / "figures/course.svg").unlink(),
        lambda: (folder / "written.json").write_text("{"),
        lambda: client.set_tag(run.info.run_id, "device_name", "Another"),
    ):
        change()
        written, again = swept()
        assert written and again == end
        assert not swept()[0]
    assert "edited" not in (folder / "index.html").read_text() and (folder / "figures/course.svg").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_a_trained_seed_that_is_not_asked_for_is_named_until_it_is_dropped(
    tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["sweep", "own/mine.yaml", *tiny_overrides]
    for settings in (["seed=0"], ["seed=0", "model.temperature=0.5"]):
        assert pipeline(["train", *tiny_overrides, *settings]) == 0
    assert pipeline([*sweep, "seeds=[0,1]"]) == 0
    assert "not in this table" not in capsys.readouterr().out
    assert pipeline([*sweep, "seeds=[0]"]) == 0
    said = capsys.readouterr().out
    assert "Seed 1 is trained and not in this table" in said and "'seeds=[0,1]'" in said
    # With another setting, there is no other seed.
    assert pipeline([*sweep, "seeds=[0]", "model.temperature=0.5"]) == 0
    assert "not in this table" not in capsys.readouterr().out
    assert pipeline([*sweep, "seeds=[0]"]) == 0
    assert "not in this table" in Path("results/mine/stripes/index.html").read_text()
    assert pipeline(["drop", "own/mine.yaml", "CUT", *tiny_overrides, "seeds=[1]", "--yes"]) == 0
    assert "not in this table" not in Path("results/mine/stripes/index.html").read_text()


@pytest.mark.usefixtures("trained")
def test_the_best_samples_of_a_search_become_rows_beside_its_file(
    tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The row that the search compares with stays the baseline, also if no sample is as good."""
    Path("own/mine.yaml").write_text(SEARCH)
    promote = ["promote", "own/mine.yaml", *tiny_overrides]
    assert pipeline([*promote, "--count=1"]) == 2
    assert "own/mine.yaml: no sample has been trained to its end" in capsys.readouterr().err
    sample = next(row for row in load_sweep("own/mine.yaml").rows if row.row == "sample 1")
    temperature = f"model.temperature={sample.set['model.temperature']}"
    assert pipeline(["train", *tiny_overrides, temperature, "seed=1"]) == 0
    assert pipeline([*promote, "--count=1"]) == 0
    said = capsys.readouterr().out
    assert "sample 1: fd_small_conv" in said and "{" not in said and said.endswith("just sweep own/mine_best.yaml\n")
    promoted = load_sweep("own/mine_best.yaml")
    assert promoted.seeds == (0, 1, 2) and promoted.search is None
    assert [row.row for row in promoted.rows] == ["CUT", "CycleGAN", "sample 1"]
    assert promoted.default == "CUT" and promoted.rows[-1].set == sample.set
    assert "task=stripes" in promoted.base
    assert pipeline(promote) == 2
    assert "own/mine_best.yaml exists already" in capsys.readouterr().err
    assert pipeline(["promote", "smoke"]) == 2
    assert "sweeps/smoke.yaml has no search" in capsys.readouterr().err
    assert pipeline(["promote", "mine", "--count=none"]) == 2
    assert "--count: 'none' is not a whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mine", ("mine", "", "")),
        ("mine/stripes@2", ("mine", "stripes", "2")),
        ("mine@2", ("mine", "", "2")),
        ("own/mine.yaml", ("mine", "", "")),
        ("/own/a@b/mine.yml/stripes@2", ("mine", "stripes", "2")),
        ("my.yaml_old/stripes", ("my.yaml_old", "stripes", "")),
    ],
)
def test_compare_takes_a_task_and_a_version_behind_a_name_and_a_file(
    text: str, found: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def read(uri: str, sweep: str, task: str, version: str) -> SweepRecord:
        asked.append((sweep, task, version))
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "recorded_tasks", lambda uri, sweep: [""])
    monkeypatch.setattr(compare, "read_sweep", read)
    with pytest.raises(KeyboardInterrupt):
        compare.compare(text, "other", None)
    assert asked == [found]
