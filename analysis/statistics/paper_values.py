"""The paper's FIDs, and whether ours are comparable to them; pure except for reading its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.records.schema import SweepRecord
from analysis.statistics.estimates import summary

REFERENCE = Path(__file__).parent / "reference.yaml"
# The data set whose values are shown for tasks that the paper does not have.
FALLBACK = "horse2zebra"


@dataclass(frozen=True)
class PaperValues:
    """The paper's FIDs by row, their data set, and why ours are not comparable to them ('' if they are)."""

    data_set: str
    fids: Mapping[str, float]
    why_not: str


def load_paper() -> Mapping[str, Any]:
    """Return the paper's FIDs, by table row and data set, and the protocol of each data set."""
    return yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))


def find_paper_values(record: SweepRecord, paper: Mapping[str, Any]) -> PaperValues | None:
    """Return the paper's FIDs for the record's rows; None where it has none.

    Ours are comparable on the paper's data set (identified by its name and numbers of images), with the paper's
    protocol, and where rows change only the model.
    """
    known = {row.row: paper["fid"].get(row.paper, {}) for row in record.rows}
    here = any(record.task in fids for fids in known.values())
    data_set = record.task if here else FALLBACK
    fids = {row: of_row[data_set] for row, of_row in known.items() if data_set in of_row}
    if not fids:
        return None
    why_not = _differences(record, paper["protocol"][data_set]) if here else "another data set"
    return PaperValues(data_set, fids, why_not)


def difference_to_paper(values: pd.DataFrame, found: PaperValues) -> pd.DataFrame:
    """Return mean, std and n of our last FID minus the paper's, a line per row."""
    ours = summary(values, "last/fid")
    theirs = pd.Series(found.fids, dtype=float).reindex(ours.index)
    return ours.assign(mean=ours["mean"] - theirs)


def _differences(record: SweepRecord, protocol: Mapping[str, str]) -> str:
    """Return in what training and scores differ from the published protocol."""
    changed = [*(text for text in record.base if not text.startswith("model=")), *record.overrides]
    # How often a trial is evaluated changes neither the training nor the last score.
    changed = [text for text in changed if not text.startswith("metric.every_epochs=")]
    changed += [f"{name} by row" for name in record.axes if not name.startswith("model")]
    found = [f"trained with {', '.join(changed)}"] if changed else []
    for name, published in protocol.items():
        ours = sorted({trial[name] for trial in record.finished})
        if ours and ours != [published]:
            spelt = " or ".join(value or "not recorded" for value in ours)
            found.append(f"{name.replace('_', ' ')} {spelt} (paper: {published})")
    return "; ".join(found)
