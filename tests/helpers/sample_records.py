"""Records as the reader gives them, made up."""

from typing import Any

import pandas as pd

from analysis.records.names import RESULT_TAGS
from analysis.records.schema import Setting, SweepRecord, SweepRow

PROTOCOL = {"extractor": "inception-v3-compat", "weights": "6726825d", "image_size": "256 x 256"}
PAPER = {"fid": {"Table 1: CUT": {"horse2zebra": 45.5}}, "protocol": {"horse2zebra": PROTOCOL}}
NO_PAPER = {"fid": {}, "protocol": {}}
NO_COURSE = pd.DataFrame(columns=["row", "seed", "step", "epoch", "value"])


def record(
    task: str = "stripes", runs: list[dict[str, object]] | None = None, price_per_hour: float | None = None
) -> SweepRecord:
    """Two rows: 'a_b|c' with two finished seeds and a failed one, 'lone' with one seed and a missing one."""
    done = {"status": "FINISHED", "error": "", "source/fd_small_conv": 80.0}
    runs = runs or [
        {"row": "a_b|c", "seed": 0, **done, "last/fd_small_conv": 10.0, "best/fd_small_conv": 9.0},
        {"row": "a_b|c", "seed": 1, **done, "last/fd_small_conv": 14.0, "best/fd_small_conv": 9.0},
        {"row": "a_b|c", "seed": 2, "status": "FAILED", "error": "RuntimeError: no_room & <none>"},
        {"row": "lone", "seed": 0, **done, "last/fd_small_conv": 20.0},
        {"row": "lone", "seed": 1, "status": "MISSING", "error": ""},
    ]
    return make(runs, task=task, price_per_hour=price_per_hour, papers={"a_b|c": "Table 1: CUT"})


def make(
    runs: list[dict[str, object]],
    *,
    settings: dict[str, dict[str, Setting]] | None = None,
    papers: dict[str, str] | None = None,
    **fields: Any,
) -> SweepRecord:
    """Return a record of these trials. Its rows are those that the trials name, and the first is the default.

    The settings of a row are its number.
    """
    names = list(dict.fromkeys(str(run["row"]) for run in runs))
    settings = settings or {name: {"model.number": number} for number, name in enumerate(names)}
    axes = tuple(dict.fromkeys(field for row in settings.values() for field in row))
    described = [
        {
            **dict.fromkeys(RESULT_TAGS, ""),
            "key": f"key{number}",
            "run_id": f"run{number}",
            "step": 0,
            "not_finite": "",
            **run,
        }
        for number, run in enumerate(runs)
    ]
    rows = tuple(
        SweepRow(
            name,
            (papers or {}).get(name, ""),
            {int(str(run["seed"])): str(run["key"]) for run in described if run["row"] == name},
            settings[name],
        )
        for name in names
    )
    known = {"sweep": "mine", "question": "Is it 100% right?", "task": "stripes", "default": names[0], "axes": axes}
    known |= {"base": (), "overrides": (), **fields}
    return SweepRecord(rows=rows, runs=pd.DataFrame(described).set_index(["row", "seed"]), **known)


def finished(row: str, seed: int, **recorded: object) -> dict[str, object]:
    """A finished trial; last__fid stands for last/fid."""
    done = {"status": "FINISHED", "error": "", "stopped": "", "timed": "alone"}
    return {"row": row, "seed": seed, **done, **{name.replace("__", "/"): value for name, value in recorded.items()}}
