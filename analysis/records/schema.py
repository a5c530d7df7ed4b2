"""A sweep as recorded: frozen data, which every table and figure is made of."""

from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from analysis.records.manifest import SweepRow


class RecordsError(Exception):
    """The records do not hold what was asked for; the text is one line for the user."""


@dataclass(frozen=True)
class SweepRecord:
    """A sweep on a task as recorded.

    The first fields are those of its `Manifest`; older records lack axes, base and settings. runs: one line a trial,
    indexed by (row, seed). Its columns are the trial's key, run_id, status, the `names.RESULT_TAGS` ('' if not
    recorded), not_finite, step, and, if it is finished, every value that it ended with. store: the address of the
    MLflow store. experiment_id: of the task in that store.
    """

    sweep: str
    question: str
    task: str
    default: str
    axes: tuple[str, ...]
    base: tuple[str, ...]
    overrides: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    runs: pd.DataFrame
    price_per_hour: float | None = None
    command: tuple[str, ...] = ()
    file: str = ""
    store: str = ""
    experiment_id: str = ""

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The lines of runs, with row and seed."""
        return cast(list[dict[str, Any]], self.runs.reset_index().to_dict("records"))

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The lines of finished trials."""
        return [trial for trial in self.trials if trial["status"] == "FINISHED"]
