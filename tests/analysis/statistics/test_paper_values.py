import pytest
from sample_records import finished, make

from analysis.records.schema import SweepRecord
from analysis.statistics.paper_values import load_paper
from analysis.tables.columns import DASH
from analysis.tables.table import table
from pipeline.config.compose import compose_config
from pipeline.metrics.names import INCEPTION, PUBLISHED_WEIGHTS

PAPER = load_paper()
PROTOCOL = {name: str(value) for name, value in PAPER["protocol"]["horse2zebra"].items()}
PAPERS = {"CUT": "Table 1: CUT", "FastCUT": "Table 1: FastCUT"}
ROWS = {"CUT": 50.0, "FastCUT": 70.0, "our own": 60.0}


def sweep(task: str = "horse2zebra", made_with: dict[str, str] | None = None, **fields: object) -> SweepRecord:
    runs = [
        finished(row, seed, last__fid=fid + seed, **(PROTOCOL | (made_with or {})))
        for row, fid in ROWS.items()
        for seed in range(3)
    ]
    return make(runs, papers=PAPERS, task=task, **fields)


def test_our_difference_to_the_paper_is_shown_where_data_and_protocol_are_the_papers() -> None:
    found = table(sweep(), PAPER)
    assert list(found.cells["paper's FID"]) == ["45.5", "73.4", DASH]
    assert list(found.cells["Δ to the paper's FID"]) == ["+5.5", "−2.4", DASH]
    assert found.greyed == found.notes == ()


def test_on_other_data_the_papers_value_is_grey_and_names_its_data_set() -> None:
    found = table(sweep("stripes"), PAPER)
    (title,) = found.greyed
    assert title == "paper's FID on horse2zebra (other data)"
    assert list(found.cells[title]) == ["45.5", "73.4", DASH]
    assert not any("Δ to the paper" in title for title in found.cells)


@pytest.mark.parametrize(
    ("made_with", "why"),
    [
        ({"images_a": "50"}, "images a 50 (paper: 120)"),
        ({"weights": "0badf00d"}, f"weights 0badf00d (paper: {PUBLISHED_WEIGHTS})"),
        ({"resize": "none"}, "resize none (paper: bilinearly as TensorFlow 1 does, not antialiased)"),
        ({"image_size": "128 x 128"}, "image size 128 x 128 (paper: 256 x 256)"),
        ({"to_8_bits": "round"}, "to 8 bits round (paper: truncate)"),
        ({"extractor": ""}, f"extractor not recorded (paper: {INCEPTION})"),
    ],
)
def test_another_protocol_greys_the_papers_value_and_says_in_what(made_with: dict[str, str], why: str) -> None:
    found = table(sweep(made_with=made_with), PAPER)
    assert found.greyed == ("paper's FID (other protocol)",)
    (note,) = found.notes
    assert note.endswith(f": {why}")


@pytest.mark.parametrize(
    "fields", [{"overrides": ("train.constant_epochs=1",)}, {"base": ("model=cut", "train.constant_epochs=1")}]
)
def test_another_training_greys_the_papers_value(fields: dict[str, object]) -> None:
    found = table(sweep(**fields), PAPER)
    (note,) = found.notes
    assert note.endswith(": trained with train.constant_epochs=1")


def test_a_row_that_trains_otherwise_greys_the_papers_value() -> None:
    rows = {row: {"train.constant_epochs": epochs} for epochs, row in enumerate(ROWS)}
    assert "trained with train.constant_epochs by row" in table(sweep(settings=rows), PAPER).notes[0]


def test_how_often_scores_are_taken_is_no_other_training() -> None:
    assert table(sweep(overrides=("metric.every_epochs=10",)), PAPER).greyed == ()


def test_before_anything_is_finished_nothing_is_said_of_protocols() -> None:
    runs = [{"row": "CUT", "seed": 0, "status": "FAILED", "error": "no"}]
    found = table(make(runs, papers=PAPERS, task="horse2zebra"), PAPER)
    assert list(found.cells["paper's FID"]) == ["45.5"]
    assert (found.greyed, len(found.notes)) == ((), 1)


def test_trials_without_an_fid_are_not_subtracted_from() -> None:
    runs = [finished("CUT", 0, last__kid=0.1, **PROTOCOL)]
    assert "Δ to the paper's FID" not in table(make(runs, papers=PAPERS, task="horse2zebra"), PAPER).cells


def test_a_base_that_chooses_the_model_is_no_other_training() -> None:
    assert table(sweep(base=("model=cut",)), PAPER).greyed == ()


def test_the_protocols_network_is_the_one_that_calibration_knows() -> None:
    for protocol in PAPER["protocol"].values():
        assert (protocol["extractor"], protocol["weights"]) == (INCEPTION, PUBLISHED_WEIGHTS)


@pytest.mark.parametrize("data_set", PAPER["protocol"])
def test_a_task_of_the_paper_is_scored_by_its_protocol_unless_told_otherwise(data_set: str) -> None:
    protocol, config = PAPER["protocol"][data_set], compose_config([f"task={data_set}"])
    assert (config.metric.extractor, config.metric.to_8_bits) == (protocol["extractor"], protocol["to_8_bits"])
    assert " x ".join(map(str, config.data.size)) == protocol["image_size"]
    *_, images_a, images_b = config.data.expected_images
    assert (str(images_a), str(images_b)) == (protocol["images_a"], protocol["images_b"])


def test_a_sweep_without_a_like_in_the_paper_has_no_such_column() -> None:
    assert not any("paper" in title for title in table(make([finished("a", 0, last__fid=1.0)]), PAPER).cells)


def test_what_later_papers_report_stands_below_the_table_with_its_source_and_is_no_value_of_the_paper() -> None:
    runs = [finished(row, seed, last__fid=fid + seed, **PROTOCOL) for row, fid in ROWS.items() for seed in range(3)]
    found = table(make(runs, papers={"CUT": "DCLGAN"}, task="horse2zebra"), PAPER)
    (note,) = found.notes
    assert (
        note.startswith("CUT: FID 43.2 on horse2zebra, 60.7 on cat2dog, ")
        and "for DCLGAN (" in note
        and "batch 1" in note
    )
    assert not any("paper" in title for title in found.cells)


def test_each_reported_value_says_where_it_stands_and_how_it_was_got() -> None:
    for name, reported in PAPER["reported"].items():
        assert set(reported) == {"fid", "how"} and reported["fid"], name
        assert "epoch" in reported["how"] and "batch" in reported["how"], name
