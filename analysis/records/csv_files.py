"""A record as tidy CSV files, and back.

trials.csv    a line a trial: what it is, what became of it, and how it was made
table.csv     a line a trial and metric that it ended with
course.csv    a line an evaluation, by the score that rows are compared by
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.records.schema import TAGS, VALUES, RecordsError, Setting, SweepRecord, SweepRow

FILES = ("trials.csv", "table.csv", "course.csv")
# How the columns of a row's settings begin.
SETTING = "set:"
# What is kept of a trial beside its values.
KEPT = ("status", "key", *TAGS, "not_finite", "step")


def to_csv(record: SweepRecord, course: pd.DataFrame) -> Mapping[str, str]:
    """The texts of the three files by their names."""
    rows = {row.row: row for row in record.rows}
    trials = [_trial(record, rows[trial["row"]], trial) for trial in record.trials]
    values = [
        {"row": trial["row"], "seed": trial["seed"], "metric": name, "value": value}
        for trial in record.finished
        for name, value in trial.items()
        if name.startswith(VALUES) and not math.isnan(value)
    ]
    frames = (pd.DataFrame(trials), pd.DataFrame(values, columns=["row", "seed", "metric", "value"]), course)
    return {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in zip(FILES, frames, strict=True)}


def read_csv(folder: Path) -> tuple[SweepRecord, pd.DataFrame]:
    """The record and the course of which the files in a folder were made. Raises RecordsError where one is missing."""
    for name in FILES:
        if not (folder / name).is_file():
            raise RecordsError(f"{folder / name}: no such file; the table is made of {', '.join(FILES)}")
    trials = pd.read_csv(folder / "trials.csv", dtype=str, keep_default_na=False).astype({"seed": int, "step": int})
    values, course = (_read_numbers(folder / name) for name in FILES[1:])
    sweep = trials.iloc[0].to_dict()
    rows = tuple(_row(str(row), of_row.to_dict("records")) for row, of_row in trials.groupby("row", sort=False))
    ended = values.pivot(index=["row", "seed"], columns="metric", values="value")
    described = trials[["row", "seed", *KEPT]].assign(run_id="")
    runs = described.set_index(["row", "seed"]).join(ended[list(dict.fromkeys(values["metric"]))])
    record = SweepRecord(
        sweep=sweep["sweep"],
        question=sweep["question"],
        task=sweep["task"],
        default=sweep["default"],
        axes=tuple(json.loads(sweep["axes"])),
        base=tuple(json.loads(sweep["base"])),
        overrides=tuple(json.loads(sweep["overrides"])),
        rows=rows,
        runs=runs,
        price_per_hour=float(sweep["price_per_hour"]) if sweep["price_per_hour"] else None,
    )
    return record, course


def _read_numbers(path: Path) -> pd.DataFrame:
    """A row may be called '1' or 'nan', and is text."""
    missing = {name: [""] for name in ("value", "step", "epoch")}
    return pd.read_csv(path, dtype={"row": str, "metric": str}, keep_default_na=False, na_values=missing)


def _trial(record: SweepRecord, row: SweepRow, trial: Mapping[str, Any]) -> dict[str, Any]:
    # Without its run: which run of which store recorded a trial is no part of what became of it.
    known = {name: trial[name] for name in KEPT}
    return {
        **{"sweep": record.sweep, "task": record.task, "question": record.question, "default": record.default},
        **{name: json.dumps(getattr(record, name)) for name in ("axes", "base", "overrides")},
        **{"price_per_hour": record.price_per_hour, "row": row.row, "paper": row.paper, "seed": trial["seed"]},
        **{f"{SETTING}{field}": _spelt(value) for field, value in row.settings.items()},
        **known,
    }


def _row(name: str, trials: list[dict[str, Any]]) -> SweepRow:
    first = trials[0]
    settings = {field.removeprefix(SETTING): _meant(text) for field, text in first.items() if field.startswith(SETTING)}
    return SweepRow(name, first["paper"], {trial["seed"]: trial["key"] for trial in trials}, settings)


def _spelt(value: Setting) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and _meant(value) == value else json.dumps(value)


def _meant(text: str) -> Setting:
    """A field that the row's method does not have is missing in its settings, and empty here."""
    try:
        return json.loads(text)
    except ValueError:
        return text or None
