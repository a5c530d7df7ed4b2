"""Rows whose distance still fell at the end of their training, in made-up and in recorded courses."""

from pathlib import Path

import pandas as pd
import pytest
from sample_records import NO_PAPER, finished, make

from analysis.records.csv_files import read_csv
from analysis.records.schema import SweepRecord
from analysis.statistics.convergence import still_falling
from analysis.tables.summary import summary_sentences

RESULTS = Path(__file__).parents[3] / "docs/results"


def trained(collapsed: str = "", **of_rows: list[list[float]]) -> tuple[SweepRecord, pd.DataFrame]:
    """Rows with the scores of each seed's evaluations. collapsed: the row whose seed 1 has collapsed."""
    runs = [
        finished(
            row, seed, last__fid=scores[-1], last__epoch=9.0, collapsed="9" if (row, seed) == (collapsed, 1) else ""
        )
        for row, seeds in of_rows.items()
        for seed, scores in enumerate(seeds)
    ]
    course = [
        {"row": row, "seed": seed, "step": step, "epoch": float(step), "value": value}
        for row, seeds in of_rows.items()
        for seed, scores in enumerate(seeds)
        for step, value in enumerate(scores)
    ]
    return make(runs), pd.DataFrame(course)


@pytest.mark.parametrize(
    ("folder", "rows"),
    [
        ("stripes/ablation_negatives", {"external": (26.54, 14.51)}),
        ("rounding/channels-first", {"external": (12.97, 7.70)}),
        ("stripes/methods", {}),
        ("cat2dog-64/photos", {}),
    ],
)
def test_recorded_courses_fall_or_have_levelled_off(folder: str, rows: dict[str, tuple[float, float]]) -> None:
    found = still_falling(*read_csv(RESULTS / folder))
    assert list(found) == list(rows)
    for row, means in rows.items():
        assert found[row] == pytest.approx(means, abs=0.01)


def test_every_seed_must_fall_twice_and_the_mean_by_enough() -> None:
    found = still_falling(
        *trained(
            falls=[[9.0, 8.0, 7.0], [5.0, 4.0, 3.0]],
            once=[[9.0, 8.0, 7.0], [3.0, 4.0, 3.0]],
            hardly=[[9.0, 8.0, 7.9], [5.0, 4.0, 3.9]],
            short=[[8.0, 7.0], [4.0, 3.0]],
        )
    )
    assert found == {"falls": (6.0, 5.0)}


def test_one_seed_must_fall_three_times() -> None:
    assert list(still_falling(*trained(twice=[[7.0, 9.0, 8.0, 7.0]], thrice=[[9.0, 8.0, 7.0, 6.0]]))) == ["thrice"]


def test_a_collapsed_trial_says_nothing_about_convergence() -> None:
    seeds = [[9.0, 8.0, 7.0], [5.0, 6.0, 7.0], [5.0, 4.0, 3.0]]
    assert not still_falling(*trained(a=seeds))
    assert list(still_falling(*trained(collapsed="a", a=seeds))) == ["a"]


def test_the_summary_says_which_row_has_not_converged_and_by_how_much() -> None:
    record, course = trained(a=[[9.0, 8.0, 7.0], [5.0, 4.0, 3.0]], b=[[9.0, 8.0, 8.5], [5.0, 4.0, 4.5]])
    first, *_ = summary_sentences(record, course, NO_PAPER)
    fell = "FID still fell at each of the last 2 evaluations in every seed"
    assert first.startswith(f"Not converged: {fell}: “a” (mean 6.0, then 5.0). Longer training")
