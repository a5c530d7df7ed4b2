"""The paper's FIDs, and whether ours are comparable to them; pure except for reading its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis.records.schema import SweepRecord

REFERENCE = Path(__file__).parent / "reference.yaml"
# Its FIDs are shown beside a table of data that the paper does not have.
OTHER_DATA_SET = "horse2zebra"


@dataclass(frozen=True)
class PaperFids:
    """The paper's FIDs by row, their data set, and why ours are not comparable to them ('' if they are)."""

    data_set: str
    fids: Mapping[str, float]
    why_not: str


def load_paper() -> Mapping[str, Any]:
    """Return the paper's FIDs by setting and data set, and the protocol of each data set."""
    return yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))


def paper_fids(record: SweepRecord, paper: Mapping[str, Any]) -> PaperFids | None:
    """Return the paper's values for the record's rows; None if it has none.

    Ours are comparable if three things hold: the data set is the paper's (by its name and its numbers of images), the
    scores follow its protocol, and only the rows' own models differ from what was published.
    """
    known = {row.row: paper["fid"].get(row.paper, {}) for row in record.rows}
    here = any(record.task in fids for fids in known.values())
    data_set = record.task if here else OTHER_DATA_SET
    fids = {row: of_row[data_set] for row, of_row in known.items() if data_set in of_row}
    if not fids:
        return None
    return PaperFids(data_set, fids, _differences(record, paper["protocol"][data_set]) if here else "another data set")


def reported_elsewhere(record: SweepRecord, paper: Mapping[str, Any]) -> dict[str, str]:
    """Return what is reported elsewhere of the methods of the record's rows, in words, by row."""
    found: dict[str, str] = {}
    for row in record.rows:
        if reported := paper.get("reported", {}).get(row.paper):
            fids = ", ".join(f"{fid} on {data_set}" for data_set, fid in reported["fid"].items())
            found[row.row] = f"FID {fids} is reported for {row.paper} ({reported['how']})"
    return found


def _differences(record: SweepRecord, protocol: Mapping[str, str]) -> str:
    """Return how the trials' training and scores differ from what was published."""
    changed = [*(text for text in record.base if not text.startswith("model=")), *record.overrides]
    # The interval of evaluations changes neither the training nor the last score.
    changed = [text for text in changed if not text.startswith("metric.every_epochs=")]
    changed += [f"{name} by row" for name in record.axes if not name.startswith("model")]
    found = [f"trained with {', '.join(changed)}"] if changed else []
    for name, published in protocol.items():
        ours = sorted({trial[name] for trial in record.finished})
        if ours and ours != [published]:
            spelt = " or ".join(value or "not recorded" for value in ours)
            found.append(f"{name.replace('_', ' ')} {spelt} (paper: {published})")
    return "; ".join(found)
