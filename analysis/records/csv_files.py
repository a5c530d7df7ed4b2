"""Write a record to tidy CSV files, and read it back.

trials.csv    a line for each trial: its settings, its status, and how it was trained and scored
table.csv     a line for each trial and final metric
course.csv    a line for each evaluation, with the score by which rows are compared
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.records.manifest import Setting, SweepRow
from analysis.records.names import FINAL_GROUPS, RESULT_TAGS
from analysis.records.schema import RecordsError, SweepRecord

FILES = ("trials.csv", "table.csv", "course.csv")
# The columns of a row's settings begin with it.
SETTING = "set:"
# The columns of a trial beside its values.
KEPT = ("status", "key", *RESULT_TAGS, "not_finite", "step")


def to_csv(record: SweepRecord, course: pd.DataFrame) -> Mapping[str, str]:
    """Return the texts of the three files by their names."""
    rows = {row.row: row for row in record.rows}
    trials = [_trial(record, rows[trial["row"]], trial) for trial in record.trials]
    values = [
        {"row": trial["row"], "seed": trial["seed"], "metric": name, "value": value}
        for trial in record.finished
        for name, value in trial.items()
        if name.startswith(FINAL_GROUPS) and not math.isnan(value)
    ]
    frames = (pd.DataFrame(trials), pd.DataFrame(values, columns=["row", "seed", "metric", "value"]), course)
    return {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in zip(FILES, frames, strict=True)}


def read_csv(folder: Path) -> tuple[SweepRecord, pd.DataFrame]:
    """Return the record and the course that a folder's files hold. Raises RecordsError if a file is missing."""
    for name in FILES:
        if not (folder / name).is_file():
            raise RecordsError(f"{folder / name}: no such file. The folder must hold {', '.join(FILES)}.")
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
    """Read a file whose rows may have names such as '1' or 'nan', which stay text."""
    missing = {name: [""] for name in ("value", "step", "epoch")}
    return pd.read_csv(path, dtype={"row": str, "metric": str}, keep_default_na=False, na_values=missing)


def _trial(record: SweepRecord, row: SweepRow, trial: Mapping[str, Any]) -> dict[str, Any]:
    # The run and the store are left out: they are no part of the result.
    known = {name: trial[name] for name in KEPT}
    return {
        **{"sweep": record.sweep, "task": record.task, "question": record.question, "default": record.default},
        **{name: json.dumps(getattr(record, name)) for name in ("axes", "base", "overrides")},
        **{"price_per_hour": record.price_per_hour, "row": row.row, "paper": row.paper, "seed": trial["seed"]},
        **{f"{SETTING}{field}": _format(value) for field, value in row.settings.items()},
        **known,
    }


def _row(name: str, trials: list[dict[str, Any]]) -> SweepRow:
    first = trials[0]
    settings = {field.removeprefix(SETTING): _parse(text) for field, text in first.items() if field.startswith(SETTING)}
    return SweepRow(name, first["paper"], {trial["seed"]: trial["key"] for trial in trials}, settings)


def _format(value: Setting) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and _parse(value) == value else json.dumps(value)


def _parse(text: str) -> Setting:
    """Return the setting of a cell. Fields that the row's method does not have are empty, which gives None."""
    try:
        return json.loads(text)
    except ValueError:
        return text or None
