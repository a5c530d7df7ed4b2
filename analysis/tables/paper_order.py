"""Whether rows are ordered as in the paper, in words; pure."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.records.names import last_metric, metric_of
from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import compare_rows
from analysis.statistics.estimates import content_scores, main_score
from analysis.statistics.paper_values import paper_fids
from analysis.tables.sentences import named, quoted


def paper_sentences(record: SweepRecord, values: pd.DataFrame, paper: Mapping[str, Any]) -> list[str]:
    """Return the paper's FIDs of the rows and whether each row stands to the default row as there.

    Nothing where the paper lacks the default row, or every other row.
    """
    papers = paper_fids(record, paper)
    fids = papers.fids if papers else {}
    others = [row.row for row in record.rows if row.row in fids and row.row != record.default]
    if papers is None or record.default not in fids or not others:
        return []
    sides = _sides(record, values)
    verdicts: dict[str, list[str]] = {}
    for row in others:
        verdicts.setdefault(_verdict(sides.get(row), fids[row] - fids[record.default]), []).append(row)
    here = "; ".join(
        f"{named(map(quoted, rows))} {'is' if len(rows) == 1 else 'are'} {verdict}"
        for verdict, rows in verdicts.items()
    )
    theirs = ", ".join(f"{quoted(row)} {fid:.1f}" for row, fid in sorted(fids.items(), key=lambda pair: pair[1]))
    return [
        f"FID in the paper ({papers.data_set}): {theirs}.",
        f"Here, compared with {quoted(record.default)}: {here}.",
    ]


def _sides(record: SweepRecord, values: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Return of each row that is compared the scores, as readers call them, in which it is better and worse."""
    main = main_score(values)
    sides: dict[str, dict[str, list[str]]] = {}
    for score in (*([main] if main else []), *content_scores(values)):
        metric = metric_of(last_metric(score))
        for row, found in compare_rows(record, values, last_metric(score)).items():
            if found.difference.n < 2:
                continue
            of_row = sides.setdefault(row, {"better": [], "worse": []})
            if found.told_apart:
                lower = found.difference.mean < 0
                of_row["better" if lower == (metric.better == "lower") else "worse"].append(metric.label)
    return sides


def _verdict(sides: Mapping[str, list[str]] | None, in_paper: float) -> str:
    """Return how a row stands here, and how in the paper, where its FID is higher by `in_paper`.

    Other scores than an FID neither agree nor disagree with it, so both are stated.
    """
    if sides is None:
        return "not compared"
    found = {side: scores for side, scores in sides.items() if scores}
    if not found:
        return "not told apart"
    there = "higher" if in_paper > 0 else "lower" if in_paper < 0 else "the same"
    here = " and ".join(f"{side} in {named(scores)}" for side, scores in found.items())
    return f"{here} (there its FID is {there})"
