"""What a summary says besides comparing rows: of the untranslated images, and of seeds that it leaves out."""

import pytest
from sample_records import NO_COURSE, NO_PAPER, finished, make

from analysis.tables.summary import summary_sentences


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (50.0, "No row is, on average, nearer to B than the untranslated images (FID 50.0)."),
        (65.5, "On average no nearer to B than the untranslated images (FID 65.5): “b” (1 of 2 seeds)."),
        (100.0, None),
        (None, None),
    ],
)
def test_rows_that_are_no_nearer_to_b_than_the_untranslated_images_are_named(
    source: float | None, said: str | None
) -> None:
    runs = [finished(row, seed, last__fid=fid + seed) for row, fid in (("a", 55.0), ("b", 65.0)) for seed in range(2)]
    known = {"source/fid": source} if source else {}
    texts = summary_sentences(make([{**run, **known} for run in runs]), NO_COURSE, NO_PAPER)
    assert [text for text in texts if "untranslated" in text] == ([said] if said else [])


def test_seeds_that_were_trained_and_not_asked_for_come_first_with_the_command_that_shows_them() -> None:
    runs = [finished(row, 1, last__fid=1.0) for row in ("a", "b")]
    first, *_ = summary_sentences(make(runs, other_seeds={0: 2, 3: 1}), NO_COURSE, NO_PAPER)
    assert first.startswith("Seeds 0, 3 (1 of 2 rows) are trained and not in this table")
    assert first.endswith("just sweep mine 'seeds=[0,1,3]'")
    unfinished = [{"row": "a", "seed": 1, "status": "RUNNING", "error": "", "stopped": ""}]
    first, *_ = summary_sentences(make(unfinished, other_seeds={-1: 1}), NO_COURSE, NO_PAPER)
    assert first.startswith("Seed -1 is trained") and first.endswith("just sweep mine 'seeds=[-1,1]'")


def test_with_one_seed_no_average_is_spoken_of() -> None:
    runs = [{**finished(row, 0, last__fid=fid), "source/fid": 60.0} for row, fid in (("a", 55.0), ("b", 65.0))]
    *_, last = summary_sentences(make(runs), NO_COURSE, NO_PAPER)
    assert last == "No nearer to B than the untranslated images (FID 60.0): “b”."
    *_, last = summary_sentences(make([{**run, "source/fid": 1.0} for run in runs]), NO_COURSE, NO_PAPER)
    assert last == "No row is nearer to B than the untranslated images (FID 1.0)."
