"""Records as the reader gives them, made up."""

import pandas as pd

from analysis.runs import SweepRecord, SweepRow

PAPER = {"Table 1: CUT": {"horse2zebra": 45.5}}


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
    rows = (SweepRow("a_b|c", "Table 1: CUT", {0: "k0", 1: "k1", 2: "k2"}), SweepRow("lone", "", {0: "k3", 1: "k4"}))
    frame = pd.DataFrame(runs).set_index(["row", "seed"])
    return SweepRecord("mine", "Is it 100% right?", task, (), rows, frame, price_per_hour)


def finished(row: str, seed: int, **recorded: object) -> dict[str, object]:
    """A finished trial; last__fid stands for last/fid."""
    done = {"status": "FINISHED", "error": "", "stopped": "", "timed": "alone"}
    return {"row": row, "seed": seed, **done, **{name.replace("__", "/"): value for name, value in recorded.items()}}
