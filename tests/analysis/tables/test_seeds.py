from sample_records import finished, make

from analysis.records.schema import SweepRecord
from analysis.tables.seeds import needed_seeds, seeds_lines


def sweep(**fids: tuple[float, ...]) -> SweepRecord:
    """Rows with a FID by seed, and an overlap that is a hundredth of it."""
    runs = [
        finished(row, seed, last__fid=fid, last__object_iou=fid / 100)
        for row, of_row in fids.items()
        for seed, fid in enumerate(of_row)
    ]
    return make(runs)


def test_every_score_has_a_line_with_the_seeds_for_the_difference_and_for_half_of_it() -> None:
    # A difference of one standard deviation.
    head, fid, overlap = seeds_lines(sweep(a=(50.0, 60.0, 70.0), b=(50.0, 61.0, 72.0)))
    assert "“a”" in head and "80 % power (at 5 %)" in head
    assert fid == "FID: “b” 10 / 34 (difference +1.0, spread 1.0, 3 seeds)."
    assert overlap == "overlap (IoU): “b” 10 / 34 (difference +0.010, spread 0.010, 3 seeds)."


def test_several_rows_are_tested_at_a_stricter_level() -> None:
    head, fid, _ = seeds_lines(sweep(a=(50.0, 60.0, 70.0), b=(50.0, 61.0, 72.0), c=(51.0, 61.0, 70.0)))
    assert "(at 5 % divided by the number of rows)" in head
    assert fid.startswith("FID: “b” 13 / 41 (")


def test_equal_rows_need_no_number() -> None:
    _, fid, _ = seeds_lines(sweep(a=(50.0, 60.0), b=(50.0, 60.0)))
    assert fid == "FID: “b” no difference seen."


def test_nothing_is_said_of_one_seed_or_row_or_without_a_score() -> None:
    assert seeds_lines(sweep(a=(50.0,), b=(60.0,))) == []
    assert seeds_lines(sweep(a=(50.0, 60.0))) == []
    assert seeds_lines(make([{"row": row, "seed": 0, "status": "MISSING", "error": ""} for row in "ab"])) == []


def test_a_script_gets_the_same_numbers() -> None:
    fid, overlap = needed_seeds(sweep(a=(50.0, 60.0, 70.0), b=(50.0, 61.0, 72.0)))
    assert (fid.score, fid.row, fid.difference, fid.spread, fid.seeds) == ("fid", "b", 1.0, 1.0, 3)
    assert (fid.needed, fid.needed_for_half, overlap.needed) == ("10", "34", "10")
    (equal, _) = needed_seeds(sweep(a=(50.0, 60.0), b=(50.0, 60.0)))
    assert equal.needed == equal.needed_for_half == ""
