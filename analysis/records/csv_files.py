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

from analysis.records.names import FINAL_GROUPS, RESULT_TAGS
from analysis.records.schema import RecordsError, Setting, SweepRecord, SweepRow

FILES = ("trials.csv", "table.csv", "course.csv")
# The columns of the sweep, which are the same for all trials.
TEXTS, LISTS = ("sweep", "task", "question", "default"), ("axes", "base", "overrides")
# The columns of a row's settings begin with it.
SETTING = "set:"
# The columns of a trial beside its values.
KEPT = ("status", "key", *RESULT_TAGS, "not_finite", "step")


def to_csv(record: SweepRecord, course: pd.DataFrame) -> Mapping[str, str]:
    """Return the texts of the three files by their names. The run and the store are no part of the result."""
    shared = {
        **{name: getattr(record, name) for name in TEXTS},
        **{name: json.dumps(getattr(record, name)) for name in LISTS},
        "price_per_hour": record.price_per_hour,
    }
    rows = {row.row: row for row in record.rows}
    trials: list[dict[str, Any]] = []
    for trial in record.trials:
        row = rows[trial["row"]]
        settings = {f"{SETTING}{field}": _format(value) for field, value in row.settings.items()}
        of_row = {"row": row.row, "paper": row.paper, "seed": trial["seed"], **settings}
        trials.append({**shared, **of_row, **{name: trial[name] for name in KEPT}})
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
    # Rows may have names such as '1' or 'nan', which stay text.
    trials = pd.read_csv(folder / "trials.csv", dtype=str, keep_default_na=False).astype({"seed": int, "step": int})
    options: Any = {"dtype": {"row": str, "metric": str}, "keep_default_na": False}
    missing = {name: [""] for name in ("value", "step", "epoch")}
    values, course = (pd.read_csv(folder / name, **options, na_values=missing) for name in FILES[1:])
    rows: list[SweepRow] = []
    for row, of_row in trials.groupby("row", sort=False):
        first = of_row.iloc[0]
        settings = {name.removeprefix(SETTING): _parse(first[name]) for name in trials if name.startswith(SETTING)}
        rows.append(SweepRow(str(row), first["paper"], dict(zip(of_row["seed"], of_row["key"], strict=True)), settings))
    ended = values.pivot(index=["row", "seed"], columns="metric", values="value")
    # Files of older versions lack some tags.
    described = trials.reindex(columns=["row", "seed", *KEPT], fill_value="").assign(run_id="")
    runs = described.set_index(["row", "seed"]).join(ended[list(dict.fromkeys(values["metric"]))])
    sweep = trials.iloc[0]
    shared: dict[str, Any] = {name: sweep[name] for name in TEXTS}
    shared |= {name: tuple(json.loads(sweep[name])) for name in LISTS}
    price = float(sweep["price_per_hour"]) if sweep["price_per_hour"] else None
    return SweepRecord(**shared, rows=tuple(rows), runs=runs, price_per_hour=price), course


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
