"""A sweep as recorded: frozen data, which every table and figure is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

Setting = str | int | float | bool | None

# What tables are made of; the rest of a trial's metrics is its course.
VALUES = ("last/", "best/", "source/", "cost/")
# Of a trial's tags those that results are made of; older trials lack some of them, which are then ''.
TAGS = (
    *("error", "stopped", "timed", "commit", "result_version", "data_fingerprint", "device_name", "torch"),
    *("extractor", "weights", "layer", "dimensions", "resize", "image_size", "images_a", "images_b", "kid_subset_size"),
    *("arithmetic", "computed_by", "vgg16", "lpips-vgg16", "dinov2-vit-l-14", "segmenter"),
)


class RecordsError(Exception):
    """The records do not hold what was asked for; the text is one line for the user."""


@dataclass(frozen=True)
class SweepRow:
    """A row of the sweep: its name, its like in the paper ('' if none), its trials' keys by seed, and its settings: the
    model's fields, and whatever else the sweep's rows set."""

    row: str
    paper: str
    keys: Mapping[int, str]
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep on a task as recorded.

    default: the row that the others are compared with. axes: the fields that its rows set. base, overrides: what the
    sweep's file and its command line set for all rows, of what can change results. Older records lack axes, base and
    settings. runs: one line a trial, indexed by (row, seed), with its key, its run, status, error, how it was made
    ('' where that is not recorded), steps so far, and, where it is finished, every value that it ended with.
    price_per_hour: of a GPU, or of the machine where there is none; None: nobody said. command, file: what was typed
    behind `just sweep`, and of which file. place, experiment_id: where the records are.
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
    place: str = ""
    experiment_id: str = ""

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The lines of runs, with row and seed."""
        return cast(list[dict[str, Any]], self.runs.reset_index().to_dict("records"))

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Those of the finished trials."""
        return [trial for trial in self.trials if trial["status"] == "FINISHED"]
