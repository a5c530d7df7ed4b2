"""The paper's FIDs beside ours, and whether ours may be held against them; pure but for reading its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import summary

REFERENCE = Path(__file__).parent / "reference.yaml"
# Whose figures stand beside a table of data that the paper does not have.
ELSEWHERE = "horse2zebra"


@dataclass(frozen=True)
class Beside:
    """The paper's FIDs by row, of which data set, and why ours cannot be held against them ('' where they can)."""

    data_set: str
    fids: Mapping[str, float]
    why_not: str


def load_paper() -> Mapping[str, Any]:
    """The paper's FIDs, by place in the paper and data set, and the protocol of each data set."""
    return yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))


def beside(record: SweepRecord, paper: Mapping[str, Any]) -> Beside | None:
    """What the paper has for the record's rows; None where it has nothing.

    Ours are comparable on the paper's data set (known by its name and its numbers of images), scored by its protocol,
    where nothing but the rows' own models departs from what was published.
    """
    known = {row.row: paper["fid"].get(row.paper, {}) for row in record.rows}
    here = any(record.task in fids for fids in known.values())
    data_set = record.task if here else ELSEWHERE
    fids = {row: of_row[data_set] for row, of_row in known.items() if data_set in of_row}
    if not fids:
        return None
    return Beside(data_set, fids, _differences(record, paper["protocol"][data_set]) if here else "another data set")


def ours_less_papers(values: pd.DataFrame, found: Beside) -> pd.DataFrame:
    """A line a row: mean, std and n of our last FID less the paper's."""
    ours = summary(values, "last/fid")
    theirs = pd.Series(found.fids, dtype=float).reindex(ours.index)
    return ours.assign(mean=ours["mean"] - theirs)


def _differences(record: SweepRecord, protocol: Mapping[str, str]) -> str:
    """In what the trials depart from the published protocol, and in what their training does."""
    changed = [*(text for text in record.base if not text.startswith("model=")), *record.overrides]
    # How often scores are taken changes neither the training nor the last of them.
    changed = [text for text in changed if not text.startswith("metric.every_epochs=")]
    changed += [f"{name} by row" for name in record.axes if not name.startswith("model")]
    found = [f"trained with {', '.join(changed)}"] if changed else []
    for name, published in protocol.items():
        ours = sorted({trial[name] for trial in record.finished})
        if ours and ours != [published]:
            spelt = " or ".join(value or "not recorded" for value in ours)
            found.append(f"{name.replace('_', ' ')} {spelt}, there {published}")
    return "; ".join(found)
