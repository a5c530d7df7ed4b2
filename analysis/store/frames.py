"""Recorded sweeps as data frames: a line for each trial, and a line for each evaluation of a trial."""

import re

import pandas as pd

from analysis.records.names import FINAL_GROUPS, PLAIN_NAME, RESULT_TAGS, sweep_name
from analysis.records.schema import SweepRecord
from analysis.store.evaluations import EVALUATION, read_scores
from analysis.store.open_store import default_store
from analysis.store.overview import recorded_sweeps, recorded_tasks
from analysis.store.reader import read_sweep

# The first columns of a frame of trials.
OF_TRIAL = ("sweep", "task", "row", "seed", "baseline", "key", "run_id", "status", "step")
# The last ones: values that a trial ended with and that were not finite, and what its run says of it.
OF_RUN = ("not_finite", *RESULT_TAGS)
TYPES = {**dict.fromkeys((*OF_TRIAL, *OF_RUN), "str"), "seed": "int64", "step": "int64", "baseline": "bool"}


def read_records(store: str | None, sweep: str | None, task: str | None) -> list[SweepRecord]:
    """Return the newest record of a sweep on each of its tasks, or of all sweeps. Raises RecordsError if there is none.

    store: an address, or None for `default_store`. sweep: its name or its file. Sweeps of other programs in the same
    store, whose names are not plain, are left out.
    """
    uri = store or default_store()
    if sweep is not None:
        name = sweep_name(sweep)
        return [read_sweep(uri, name, each) for each in ([task] if task else recorded_tasks(uri, name))]
    found = [(name, on) for name, on in recorded_sweeps(uri) if task in (None, on) and re.fullmatch(PLAIN_NAME, name)]
    return [read_sweep(uri, name, on) for name, on in found]


def trials_frame(store: str | None, sweep: str | None = None, task: str | None = None) -> pd.DataFrame:
    """Return a line for each trial, in the order of sweeps, rows and seeds.

    Its columns are `OF_TRIAL`, the settings of the rows ('model.temperature'), the values that finished trials ended
    with ('last/fid', 'cost/seconds_per_iteration'; nan for other trials), and `OF_RUN`. A trial that several sweeps
    share has a line in each.
    """
    records = read_records(store, sweep, task)
    settings = dict.fromkeys(name for record in records for row in record.rows for name in row.settings)
    recorded = sorted({str(name) for record in records for name in record.runs})
    values = [name for group in FINAL_GROUPS for name in recorded if name.startswith(group)]
    lines = [
        {
            **{"sweep": record.sweep, "task": record.task, "baseline": trial["row"] == record.default},
            **next(row.settings for row in record.rows if row.row == trial["row"]),
            **trial,
        }
        for record in records
        for trial in record.trials
    ]
    frame = pd.DataFrame(lines, columns=[*OF_TRIAL, *settings, *values, *OF_RUN])
    return frame.astype({**TYPES, **dict.fromkeys(values, "float64")})


def scores_frame(store: str | None, sweep: str | None = None, task: str | None = None) -> pd.DataFrame:
    """Return a line for each evaluation of each trial: sweep, task, row, seed, step, epoch, a column for each score."""
    uri = store or default_store()
    parts = [
        read_scores(uri, record).assign(sweep=record.sweep, task=record.task)
        for record in read_records(store, sweep, task)
    ]
    first = ["sweep", "task", *EVALUATION]
    whole = pd.concat([pd.DataFrame(columns=first), *parts], ignore_index=True)
    scores = [str(name) for name in whole if name not in first]
    types = {**dict.fromkeys(("sweep", "task", "row"), "str"), "seed": "int64", "step": "int64"}
    return whole.astype({**types, **dict.fromkeys(("epoch", *scores), "float64")})
