"""A sweep as it was started (the file `sweep.json` of its run in MLflow) and as recorded: frozen data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from analysis.records.address import without_password

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_FILE = "sweep.json"

Setting = str | int | float | bool | None


class RecordsError(Exception):
    """The records do not hold what was asked for; the text is one line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(without_password(message))


@dataclass(frozen=True)
class SweepRow:
    """A row of a sweep.

    paper: the row with the same setting in the paper; '' if there is none. keys: its trials by seed. settings: the
    model's fields, and every field that any row sets.
    """

    row: str
    paper: str
    keys: Mapping[int, str]
    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting])


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
    older = {"sweep": "", "task": "", "default": content["rows"][0]["row"]}
    # Sweeps that were recorded before passwords were left out.
    typed = {name: content[name] for name in ("base", "overrides", "command") if name in content}
    typed = {name: [without_password(text) for text in texts] for name, texts in typed.items()}
    return TypeAdapter(Manifest).validate_python({**older, **content, **typed})


@dataclass(frozen=True)
class TrialRun:
    """What a trial's run in MLflow holds beside its result.

    parameters: the settings that can change its result, as text. created, ended: milliseconds since 1970; 0 where it
    has not ended.
    """

    parameters: Mapping[str, str]
    created: int
    ended: int


@dataclass(frozen=True, kw_only=True)
class SweepRecord(Manifest):
    """A sweep on a task as recorded.

    Older records lack axes, base and settings. runs: one line a trial, indexed by (row, seed). Its columns are the
    trial's key, run_id, status, the `names.RESULT_TAGS` ('' if not recorded), not_finite, step, and, if it is finished,
    every value that it ended with. store: the address of the MLflow store. experiment_id: of the task in that store.
    other_seeds: trained to the end, but not asked for by the last call; and of how many rows. details: of each trial
    that has a run, by its key; CSV files do not hold them.
    """

    runs: "pd.DataFrame"
    store: str = ""
    experiment_id: str = ""
    other_seeds: Mapping[int, int] = field(default_factory=dict[int, int])
    details: Mapping[str, TrialRun] = field(default_factory=dict[str, TrialRun])

    # Asked for a hundred times by a report.
    @cached_property
    def trials(self) -> Sequence[Mapping[str, Any]]:
        """The lines of runs, with row and seed."""
        return cast(list[dict[str, Any]], self.runs.reset_index().to_dict("records"))

    @cached_property
    def finished(self) -> Sequence[Mapping[str, Any]]:
        """The lines of finished trials."""
        return [trial for trial in self.trials if trial["status"] == "FINISHED"]
