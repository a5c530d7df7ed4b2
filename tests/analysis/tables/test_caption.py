import pytest
from sample_records import NO_PAPER, finished, make

from analysis.records.names import RESULT_TAGS, SCORE_TAGS
from analysis.tables.caption import bias_sentence, caption
from analysis.tables.formats import latex, markdown
from analysis.tables.table import table

INCEPTION = {"extractor": "inception-v3-compat", "weights": "6726825d", "dimensions": "2048", "kid_subset_size": "100"}
SMALL = {"extractor": "small-conv", "weights": "0123abcd", "dimensions": "96", "kid_subset_size": "20"}


def caption_of(*runs: dict[str, object]) -> str:
    found = make(list(runs))
    return caption(found, table(found, NO_PAPER).cells)


def inception(row: str, seed: int, images_a: int, images_b: int, **recorded: object) -> dict[str, object]:
    counts = {"images_a": str(images_a), "images_b": str(images_b)}
    return finished(row, seed, last__fid=50.0, last__kid=0.01, **{**INCEPTION, **counts, **recorded})


def test_bias_is_reported_with_its_numbers_where_images_are_fewer_than_dimensions() -> None:
    trials = (
        inception("a_b|c", 0, 120, 140, last__kid_std=0.001),
        inception("lone", 0, 120, 140, last__kid_std=0.0032),
        {"row": "lone", "seed": 1, "status": "FAILED", "error": "no"},
    )
    text = caption_of(*trials)
    for fact in (
        "FID is biased",
        "120 and 140 images",
        "2048 dimensions",
        "KID",
        "subsets of 100 images",
        "is 0.0021 ",
    ):
        assert fact in text


@pytest.mark.parametrize(("images_a", "fewer"), [(2047, True), (2048, False)])
def test_bias_is_reported_exactly_below_the_number_of_dimensions(images_a: int, fewer: bool) -> None:
    text = caption_of(inception("a_b|c", 0, images_a, 5000), inception("lone", 0, images_a, 5000))
    assert (" 2047 images" in text) == fewer
    assert ("biased" in text) == fewer


def test_bias_is_reported_without_a_deviation_where_none_is_recorded() -> None:
    text = caption_of(inception("a_b|c", 0, 120, 140), inception("lone", 0, 120, 140))
    assert "FID is biased" in text
    assert "subsets" not in text and "nan" not in text


def test_small_extractors_distances_have_their_own_names_and_deviation() -> None:
    scores = {"last__fd_small_conv": 10.0, "last__kd_small_conv": 0.5, "last__kd_small_conv_std": 0.0314}
    made_with = {**SMALL, "images_a": "40", "images_b": "40", **scores}
    text = caption_of(finished("a_b|c", 0, **made_with), finished("lone", 0, **made_with))
    for fact in ("FD (small-conv) is biased", "40 and 40 images", "96 dimensions", "KD (small-conv)", "is 0.031 "):
        assert fact in text


def test_bias_is_that_of_the_distance_whose_dimensions_are_recorded() -> None:
    scores = {"last__fd_small_conv": 10.0, "last__kd_efficientnet_lite0": 0.1}
    scores |= {"last__fd_efficientnet_lite0": 50.0, "best__fd_efficientnet_lite0": 40.0}
    made_with = {**SMALL, "images_a": "40", "images_b": "40", **scores}
    text = caption_of(*(finished(row, 0, **made_with) for row in ("a_b|c", "lone")))
    assert "FD (small-conv) is biased" in text and "FD (EfficientNet-Lite0) is biased" not in text
    assert text.count("EfficientNet-Lite0: 1280 features") == 1 and "no FID" in text


def test_a_collapsed_trial_is_not_in_the_captions_deviation() -> None:
    made_with = {**SMALL, "images_a": "40", "images_b": "40", "last__fd_small_conv": 10.0, "last__epoch": 6.0}
    runs = [
        finished("a_b|c", seed, last__kd_small_conv=0.5, last__kd_small_conv_std=0.02, **made_with) for seed in (0, 1)
    ]
    runs += [finished("a_b|c", 2, last__kd_small_conv_std=0.9, collapsed="6", **made_with)]
    assert " is 0.020 " in caption_of(*runs)


def test_older_records_say_nothing_of_bias_and_differ_in_nothing() -> None:
    tags = dict.fromkeys((*INCEPTION, "images_a", "images_b"), "")
    for older in ({}, tags):
        runs = [finished(row, 0, last__fid=50.0, last__kid=0.01, **older) for row in ("a_b|c", "lone")]
        assert "biased" not in caption_of(*runs)
        assert table(make(runs), NO_PAPER).notes == ()


def test_bias_of_one_evaluation_has_its_own_deviation() -> None:
    made_with = {"images_a": "120", "images_b": "3000", "dimensions": "2048", "kid_subset_size": "100"}
    text = bias_sentence("fid", "kid", made_with, 0.0021)
    assert " 120 images" in text and "3000" not in text
    assert text.endswith("subsets of 100 images is 0.0021.")
    assert bias_sentence("fid", "kid", {**made_with, "images_a": "2048"}, 0.0021) == ""
    assert bias_sentence("fid", "kid", {}, 0.0021) == ""


def test_a_table_that_mixes_weights_or_images_says_so_with_the_values() -> None:
    found = make(
        [
            inception("a_b|c", 0, 120, 140),
            inception("a_b|c", 1, 120, 140),
            inception("lone", 0, 60, 140, weights="0badf00d"),
            {"row": "lone", "seed": 1, "status": "FAILED", "error": "no"},
        ]
    )
    made = table(found, NO_PAPER)
    assert "weights (6726825d in 2, 0badf00d in 1); images of A (120 in 2, 60 in 1)" in made.notes[-1]
    text = caption(found, made.cells)
    assert "120 and 140 images are fewer" in text
    assert "60 and 140 images are fewer" in text
    assert "0badf00d" in markdown(found, made)
    assert "0badf00d" in latex(found, made)


def test_times_and_memory_are_explained_where_they_are_shown() -> None:
    measured = {"cost__seconds_per_iteration": 0.1, "cost__training_peak_live_gb": 1.0}
    text = caption_of(*(finished(row, 0, last__fid=50.0, **measured) for row in ("a_b|c", "lone")))
    assert "Seconds per iteration: median after warm-up" in text
    assert "Peak memory: the most bytes of live tensors" in text
    text = caption_of(*(finished(row, 0, last__fid=50.0) for row in ("a_b|c", "lone")))
    assert "Seconds" not in text
    assert "memory" not in text


@pytest.mark.parametrize(("tag", "name"), SCORE_TAGS.items())
def test_whatever_scores_are_made_with_must_be_the_same(tag: str, name: str) -> None:
    assert tag in RESULT_TAGS
    runs = [finished(row, 0, last__fid=50.0, **{tag: value}) for row, value in (("a_b|c", "1"), ("lone", "2"))]
    assert f"{name} (1 in 1, 2 in 1)" in table(make(runs), NO_PAPER).notes[-1]


def test_a_star_is_explained_with_the_number_of_rows_and_what_it_takes() -> None:
    def of_rows(count: int) -> str:
        return caption_of(
            *(finished(f"{row}", seed, last__fid=row + seed) for row in range(count) for seed in range(3))
        )

    two, eight = of_rows(2), of_rows(8)
    assert "told apart from 0 (paired t-test, p < 0.05)" in two and "Holm" not in two
    assert "Holm's correction for 7 rows" in eight
    # The quantiles of Student's t with two degrees of freedom at 5 % and at 5 % / 7, over the root of 3.
    assert "2.5 times its standard deviation" in two and "the clearest of 7 rows 6.8 times" in eight
    assert "not corrected" not in eight


def test_one_seed_has_no_star_to_explain() -> None:
    assert "told apart" not in caption_of(*(finished(row, 0, last__fid=50.0) for row in "ab"))
