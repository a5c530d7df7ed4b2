"""What a sweep consists of, as the file `sweep.json` of its run in MLflow. This module imports nothing heavy."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST_FILE = "sweep.json"

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class SweepRow:
    """A row of a sweep.

    paper: the row with the same setting in the paper; '' if there is none. keys: its trials by seed. settings: the
    model's fields, and every field that any row sets.
    """

    row: str
    paper: str
    keys: Mapping[int, str]
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class Manifest:
    """A sweep as it was started.

    default: the row that the others are compared with. axes: the fields that rows set. base, overrides: what the
    sweep's file and its command line set for all rows, of what can change results. price_per_hour: of a GPU, or of the
    machine if it has none; None if unknown. command, file: what was typed after `just sweep`, and of which file.
    """

    sweep: str
    question: str
    task: str
    default: str
    rows: tuple[SweepRow, ...]
    result_version: str = "1"
    axes: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    price_per_hour: float | None = None
    command: tuple[str, ...] = ()
    file: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        rows = [{**asdict(row), "keys": {str(seed): key for seed, key in row.keys.items()}} for row in self.rows]
        return {**asdict(self), "rows": rows}

    def digest(self) -> str:
        """Return a hash by which sweeps of the same trials are recognised, however the command was written."""
        content = {name: value for name, value in self.to_dict().items() if name not in ("command", "file")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_manifest(content: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a file's content. Older files lack fields, which are then empty."""
    rows = tuple(
        SweepRow(
            row["row"], row["paper"], {int(seed): key for seed, key in row["keys"].items()}, row.get("settings", {})
        )
        for row in content["rows"]
    )
    return Manifest(
        sweep=content.get("sweep", ""),
        question=content["question"],
        task=content.get("task", ""),
        default=content.get("default", rows[0].row),
        result_version=content.get("result_version", "1"),
        rows=rows,
        price_per_hour=content.get("price_per_hour"),
        file=content.get("file", ""),
        **{name: tuple(content.get(name, ())) for name in ("axes", "base", "overrides", "command")},
    )
