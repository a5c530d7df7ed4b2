"""The qualitative ablation: the same test images as every row of a sweep translates them; pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.records.schema import SweepRecord

# (H, W, 3) of 8 bits.
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Qualitative:
    """Test images of A by one seed: each as it is, as each row translates it (rows in the sweep's order), and, in B,
    the neighbour of one row's translation (the default row's, where that is there) in the features of the metric.
    left_out: how many of the sweep's rows are not shown."""

    seed: int
    neighbour_of: str
    inputs: tuple[Picture, ...]
    outputs: Mapping[str, tuple[Picture, ...]]
    neighbours: tuple[Picture, ...]
    left_out: int


def best_seed(record: SweepRecord) -> int | None:
    """The seed of which most rows have a finished trial (the first of equals); None where none is finished."""
    counts = Counter(trial["seed"] for trial in record.finished)
    return max(counts, key=counts.__getitem__, default=None)


def pictured(record: SweepRecord, seed: int, most: int) -> list[str]:
    """The runs of that seed whose pictures are compared: the default row's and those of the first others, in order."""
    runs = {trial["row"]: trial["run_id"] for trial in record.finished if trial["seed"] == seed}
    chosen = {record.default, *[row for row in runs if row != record.default][: most - 1]}
    return [run_id for row, run_id in runs.items() if row in chosen]


def compare_outputs(record: SweepRecord, seed: int, grids: Mapping[str, Picture]) -> Qualitative | None:
    """Cut the last evaluation's picture of each trial of that seed, as `runs.read_grids` gives them by run, into
    images. None where there is no picture."""
    trials = [trial for trial in record.finished if trial["seed"] == seed and trial["run_id"] in grids]
    cut = {trial["row"]: _lines(grids[trial["run_id"]], trial["image_size"]) for trial in trials}
    if not cut:
        return None
    shown = record.default if record.default in cut else next(iter(cut))
    inputs, _, neighbours = cut[shown]
    outputs = {row: lines[1] for row, lines in cut.items()}
    return Qualitative(seed, shown, inputs, outputs, neighbours, len(record.rows) - len(cut))


def _lines(grid: Picture, image_size: str) -> list[tuple[Picture, ...]]:
    """Inputs, outputs and neighbours of a grid that has them below one another; square where no size is recorded."""
    height = len(grid) // 3
    width = int(image_size.partition(" x ")[2] or height)
    count = grid.shape[1] // width
    tiles = grid[: 3 * height, : count * width].reshape(3, height, count, width, 3).swapaxes(1, 2)
    return [tuple(line) for line in tiles]
