"""When and how a sweep was made, and with which settings."""

from dataclasses import replace

from sample_records import finished, make

from analysis.records.schema import SweepRecord, TrialRun
from analysis.report.method import how_made, moment, times
from analysis.report.settings import differing_settings, main_settings, row_settings, shared_settings

TRAINING = {
    **{"train.learning_rate": "0.0002", "train.batch_size": "1", "train.beta1": "0.5", "train.beta2": "0.999"},
    **{"train.constant_epochs": "200", "train.decay_epochs": "100", "data.size": "256, 256", "data.name": "None"},
}
NOON = 1_800_014_400_000  # 2027-01-15 12:00 UTC


def recorded(**of_second: str) -> SweepRecord:
    """Return two rows with two seeds. of_second: parameters of the second row."""
    tags = {"host": "node7", "python": "3.12.1", "images_a": "120", "images_b": "140", "extractor": "small-conv"}
    runs = [
        finished(row, seed, **tags, last__fd_small_conv=9.0 + seed, last__step=300.0, cost__device_hours=0.25)
        for row in ("one", "two")
        for seed in (0, 1)
    ]
    record = make([*runs, {"row": "two", "seed": 2, "status": "FAILED", "error": "", "timed": ""}])
    details = {
        key: TrialRun({**TRAINING, "seed": str(seed), **(of_second if row.row == "two" else {})}, NOON, NOON + 60_000)
        for row in record.rows
        for seed, key in row.keys.items()
    }
    return replace(record, details=details)


def test_crops_of_one_image_are_described_by_their_zoom() -> None:
    assert main_settings(recorded())["crop"] == "none"
    zoomed = main_settings(recorded(**{"data.size": "64, 64", "data.largest_shrink": "3.0"}))
    assert zoomed["crop"] == "none / cells of 64 x 64, after a random zoom from 1/3 to 1"


def test_the_moment_is_the_end_of_the_last_trial_and_counts_all_states() -> None:
    assert moment(recorded()) == "5 trials: 4 done, 1 failed. The last ended 2027-01-15 12:01 UTC."
    assert dict(times(recorded())) == {
        "first trial recorded": "2027-01-15 12:00 UTC",
        "last trial ended": "2027-01-15 12:01 UTC",
        "device hours": "1 (4 finished trials)",
    }


def test_settings_are_shared_or_differ_and_seeds_and_unset_ones_are_neither() -> None:
    settings = row_settings(recorded(**{"train.learning_rate": "0.001", "model.only": "7"}))
    shared = dict(shared_settings(settings))
    assert shared == {name: text for name, text in TRAINING.items() if name not in ("train.learning_rate", "data.name")}
    assert differing_settings(settings, ["model.number"]) == (
        ("row", "model.number", "train.learning_rate", "model.only"),
        ("one", "0", "0.0002", "–"),
        ("two", "1", "0.001", "7"),
    )


def test_main_settings_name_the_values_of_different_rows_and_nothing_unrecorded() -> None:
    main = main_settings(recorded(**{"train.learning_rate": "0.001", "data.load_size": "286, 286"}))
    assert main["learning rate"] == "0.0002 / 0.001"
    assert main["epochs"] == "200 constant + 100 decay"
    assert main["optimiser"] == "Adam (β1 = 0.5, β2 = 0.999)"
    assert main["test images (A, B)"] == "120, 140"
    assert main["crop"].startswith("none / random crops of 256 x 256 from 286 x 286")
    assert "training images (A, B)" not in main
    assert main_settings(make([finished("a", 0)])) == {}


def test_the_method_states_what_is_recorded_and_leaves_out_what_is_not() -> None:
    text = how_made(recorded())
    for part in ("learning rate 0.0002", "batch size 1", "Seeds: 0, 1, 2.", "Steps of a trial: 300.", "host node7"):
        assert part in text
    for part in ("extractor small-conv", "Python 3.12.1", "Student's 95 % interval", "Device hours: 1 (4 finished"):
        assert part in text
    assert "None" not in text and "fingerprint" not in text and "torch" not in text
    bare = how_made(make([{"row": "a", "seed": 0, "status": "RUNNING", "error": ""}]))
    assert bare == "Task: stripes. Rows: “a”; baseline: “a”. Seeds: 0. 1 trial: 1 not finished."
