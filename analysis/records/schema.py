"""A sweep as recorded: frozen data, which every table and figure is made of."""

from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from analysis.records.manifest import Manifest


class RecordsError(Exception):
    """The records do not hold what was asked for; the text is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class SweepRecord(Manifest):
    """A sweep on a task as recorded.

    Older records lack axes, base and settings. runs: one line a trial, indexed by (row, seed). Its columns are the
    trial's key, run_id, status, the `names.RESULT_TAGS` ('' if not recorded), not_finite, step, and, if it is finished,
    every value that it ended with. store: the address of the MLflow store. experiment_id: of the task in that store.
    """

    runs: pd.DataFrame
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
