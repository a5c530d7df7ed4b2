import math
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.names import RESULT_TAGS
from analysis.statistics.estimates import rows_scored_differently, tag_differences
from analysis.store.evaluations import read_course, read_grids
from analysis.store.reader import read_sweep
from pipeline.__main__ import main


@pytest.fixture
def here(stores: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores["now"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_newest_record_of_a_sweep_is_read_or_the_newest_of_a_result_version(stores: dict[str, str]) -> None:
    questions = [read_sweep(stores["now"], "hand_made", "stripes", version).question for version in ("", "1", "0")]
    assert questions == ["Is it 100 % <right>?", "Is it 100 % <right>?", "What did it ask before?"]


def test_a_trial_without_a_run_is_missing_and_has_no_tags(stores: dict[str, str]) -> None:
    runs = read_sweep(stores["now"], "hand_made", "stripes").runs
    assert runs.loc[("never ran", 1), ["status", "run_id", *RESULT_TAGS]].to_list() == [
        "MISSING",
        "",
        *[""] * len(RESULT_TAGS),
    ]
    assert runs.loc[("internal", 0), ["status", "images_a"]].to_list() == ["FINISHED", "40"]


def test_what_a_stopped_trial_had_reached_is_not_read_as_its_end(stores: dict[str, str]) -> None:
    runs = read_sweep(stores["now"], "hand_made", "stripes").runs
    assert runs.loc[[("both_|<%\\>", 1)], "last/fd_small_conv"].isna().all()


def test_values_that_are_not_finite_are_left_out_and_named(stores: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(stores["now"].removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_id = str(read_sweep(uri, "hand_made", "stripes").runs.loc[("internal", 0), "run_id"])
    MlflowClient(uri).log_metric(run_id, "last/kd_small_conv", math.inf)
    MlflowClient(uri).log_metric(run_id, "eval/fd_small_conv", math.inf, step=1024)
    record = read_sweep(uri, "hand_made", "stripes")
    assert record.runs["not_finite"].to_list() == ["last/kd_small_conv", *[""] * 7]
    assert record.runs.loc[[("internal", 0)], "last/kd_small_conv"].isna().all()
    course = read_course(uri, record, "fd_small_conv")
    assert course.loc[course["value"].isna(), "step"].to_list() == [1024]


def test_the_course_is_every_evaluation_of_the_finished_trials(stores: dict[str, str]) -> None:
    record = read_sweep(stores["now"], "hand_made", "stripes")
    course = read_course(stores["now"], record, "fd_small_conv").set_index(["row", "seed", "step"])
    assert len(course) == 15
    assert course.loc[("external", 1, 512)].to_list() == [2.0, 25.0]


def test_pictures_are_those_of_the_first_and_the_last_evaluation(stores: dict[str, str]) -> None:
    record = read_sweep(stores["now"], "hand_made", "stripes")
    run = str(record.runs.loc[("external", 0), "run_id"])
    (pictures,) = read_grids(stores["now"], [run], 2).values()
    assert {step: set(picture.flatten()) for step, picture in pictures.items()} == {256: {190}, 768: {135}}
    assert all(picture.shape == (24, 16, 3) for picture in pictures.values())


def test_trials_with_a_run_have_their_parameters_and_the_time_of_their_end(stores: dict[str, str]) -> None:
    record = read_sweep(stores["now"], "hand_made", "stripes")
    assert set(record.details) == {trial["key"] for trial in record.trials if trial["run_id"]}
    done = record.details["stripes-internal-0"]
    assert done.parameters == {"train.learning_rate": "0.0002"}
    assert 0 < done.created <= done.ended


def test_older_records_have_no_settings_and_the_first_row_as_default(stores: dict[str, str]) -> None:
    record = read_sweep(stores["older"], "hand_made", "stripes")
    assert (record.default, record.axes, dict(record.rows[0].settings)) == ("internal", (), {})


def test_older_trials_were_rounded_to_8_bits_and_compare_with_newer_ones(
    stores: dict[str, str], tmp_path: Path
) -> None:
    shutil.copy(stores["now"].removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for seed, to_8_bits, differing in ((0, "round", []), (1, "truncate", ["to 8 bits (round in 4, truncate in 1)"])):
        run_id = str(read_sweep(uri, "hand_made", "stripes").runs.loc[("external", seed), "run_id"])
        MlflowClient(uri).set_tag(run_id, "to_8_bits", to_8_bits)
        record = read_sweep(uri, "hand_made", "stripes")
        assert tag_differences(record) == differing
        assert rows_scored_differently(record) == ({"external"} if differing else set())


def test_older_records_are_tabled_without_settings_which_a_footnote_says(
    stores: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores["older"])
    assert main(["tables", "hand_made"]) == 0
    text = (here / "results/hand_made/stripes/table.md").read_text(encoding="utf-8")
    assert "16.25 ± 3.89" in text
    assert "old record without settings" in text
    assert (here / "results/hand_made/stripes/index.html").is_file()


def test_two_stores_compare_row_by_row(stores: dict[str, str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "hand_made", "hand_made/stripes", "--other-store", stores["older"]]) == 0
    text = capsys.readouterr().out
    assert "+5.00 (+5.00 to +5.00)" in text
    assert "Worse than A in FD (small-conv) at the end of training: “internal” +5.00 (in all 2 seeds)" in text


def test_two_records_of_one_name_are_told_apart_by_their_store(
    stores: dict[str, str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "hand_made", "hand_made", "--other-store", stores["older"]]) == 0
    assert capsys.readouterr().out.startswith("A: hand_made here\nB: hand_made there\n")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["tables", "mine"], ("no sweep 'mine'", "hand_made", "just sweep mine")),
        (["tables", "it's"], ('no sweep "it\'s"',)),
        (["tables", "hand_made", "--task", "cats"], ("task 'cats'", "stripes")),
        (["compare", "hand_made", "mine"], ("no sweep 'mine'", "hand_made")),
        (["compare", "hand_made@7", "hand_made"], ("sweep 'hand_made'", "no result version '7'", "0, 1")),
        (
            ["compare", "hand_made", "hand_made", "--other-store", "sqlite:////no/x.db"],
            ("no such database", "x.db"),
        ),
        (["compare", "hand_made"], ("required: OTHER",)),
        (["tables", "hand_made", "--price-per-hour", "0"], ("'0'", "above 0")),
        (["tables", "hand_made", "--price-per-hour", "nan"], ("'nan'", "above 0")),
        (["tables", "hand_made", "--price-per-hour", "cheap"], ("'cheap'", "above 0")),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], facts: tuple[str, ...]
) -> None:
    assert main(arguments) == 2
    line = error_line(capsys)
    assert [fact for fact in facts if fact not in line] == []
    assert not (here / "results").exists()


def test_a_price_becomes_a_column(here: Path) -> None:
    table = here / "results/hand_made/stripes/table.md"
    assert main(["tables", "hand_made"]) == 0
    assert "per hour" not in table.read_text(encoding="utf-8")
    assert main(["tables", "hand_made", "--price-per-hour", "4"]) == 0
    assert "cost per trial (4 per hour) ↓" in table.read_text(encoding="utf-8")


def test_a_store_that_is_not_there_is_not_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["tables", "hand_made"]) == 2
    assert "mlflow.db" in error_line(capsys)
    assert list(tmp_path.iterdir()) == []
