"""How far rounding alone moves a sweep's rows: the same sweep, computed in several ways; pure."""

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.records.schema import SweepRecord
from analysis.statistics.comparisons import Comparison, compare_rows
from analysis.statistics.estimates import Estimate, summary, values_of
from analysis.tables.columns import DASH, Column, column_of
from analysis.tables.table import STAR, difference, mean_and_std

METRICS = ("last/fd_small_conv", "last/object_iou", "last/size_kept", "last/objects_lost")
MOVED = "largest less smallest mean"


def rounding_table(records: Mapping[str, SweepRecord]) -> pd.DataFrame:
    """Return a line for each metric and way of computing, with each row's mean and its difference to the default row.

    records: by the name of the way; all of one sweep. A last line for each metric has how far each row's mean moves.
    """
    values = {way: values_of(record) for way, record in records.items()}
    lines: list[dict[str, str]] = []
    for metric in METRICS:
        if not all(metric in found for found in values.values()):
            continue
        column = column_of(metric)
        means = {way: summary(found, metric) for way, found in values.items()}
        for way, record in records.items():
            compared = compare_rows(record, values[way], metric)
            lines.append(
                {"score": column.title, "computed": way}
                | {row.row: mean_and_std(means[way][row.row], column, len(row.keys)) for row in record.rows}
                | {f"{row} − {record.default}": _starred(compared[row], column) for row in compared}
            )
        moved = {row: _reach([of_way[row] for of_way in means.values()], column) for row in next(iter(means.values()))}
        lines.append({"score": column.title, "computed": MOVED} | moved)
    return pd.DataFrame(lines).fillna("").set_index("score")


def _reach(found: Sequence[Estimate], column: Column) -> str:
    """Return how far a row's mean moves; a dash where the ways have different numbers of seeds, or none."""
    means = [one.mean for one in found]
    if {one.n for one in found} != {max(found[0].n, 1)}:
        return DASH
    return f"{(max(means) - min(means)) * column.factor:.{column.digits}f}"


def _starred(found: Comparison, column: Column) -> str:
    return difference(found.difference, column) + (STAR if found.told_apart else "")
