"""Test images translated by every row of a sweep: at the end, and over the epochs; pure."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.records.names import last_metric
from analysis.records.schema import SweepRecord

# (H, W, 3) of 8 bits.
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Qualitative:
    """Test images of A, and their translations by each row (in the sweep's order) with one seed.

    neighbours: the image of B nearest to the translation by the row `neighbour_of` in the metric's feature space. That
    is the default row, if it has images. left_out: the number of the sweep's rows that are not shown.
    """

    seed: int
    neighbour_of: str
    inputs: tuple[Picture, ...]
    outputs: Mapping[str, tuple[Picture, ...]]
    neighbours: tuple[Picture, ...]
    left_out: int


@dataclass(frozen=True)
class Progress:
    """The first test image of A, and its translation by each row after each of some epochs, all of one seed.

    along: 'epoch', or 'step' where the epochs are not recorded. outputs: by row, one for each x; None where a row was
    not evaluated there.
    """

    seed: int
    source: Picture
    along: str
    xs: tuple[float, ...]
    outputs: Mapping[str, tuple[Picture | None, ...]]


def pictured(record: SweepRecord, most: int) -> list[str]:
    """Return the runs whose images are compared: the default row's and the first others', in order.

    They have the seed with the most finished rows (the first of equals).
    """
    counts = Counter(trial["seed"] for trial in record.finished)
    seed = max(counts, key=counts.__getitem__, default=None)
    runs = {trial["row"]: trial["run_id"] for trial in record.finished if trial["seed"] == seed}
    chosen = {record.default, *[row for row in runs if row != record.default][: most - 1]}
    return [run_id for row, run_id in runs.items() if row in chosen]


def compare_outputs(record: SweepRecord, grids: Mapping[str, Picture]) -> Qualitative | None:
    """Cut the last image grid of each trial into images. None where there is no grid.

    grids: by run, from `mlflow_reader.read_grids`; all of one seed.
    """
    trials = [trial for trial in record.finished if trial["run_id"] in grids]
    if not trials:
        return None
    cut = {trial["row"]: _lines(grids[trial["run_id"]], trial["image_size"]) for trial in trials}
    shown = record.default if record.default in cut else next(iter(cut))
    inputs, _, neighbours = cut[shown]
    outputs = {row: lines[1] for row, lines in cut.items()}
    return Qualitative(trials[0]["seed"], shown, inputs, outputs, neighbours, len(record.rows) - len(cut))


def show_progress(record: SweepRecord, grids: Mapping[str, Mapping[int, Picture]]) -> Progress | None:
    """Cut the first image out of each grid of each trial. None where no trial has grids of two evaluations.

    grids: by run and step, from `mlflow_reader.read_grids`; all of one seed.
    """
    trials = [trial for trial in record.finished if trial["run_id"] in grids]
    if all(len(grids[trial["run_id"]]) < 2 for trial in trials):
        return None
    epoch, step = last_metric("epoch"), last_metric("step")
    # Of each row, the number of epochs in a step; nan in older records.
    scales = {trial["row"]: trial.get(epoch, math.nan) / trial.get(step, math.nan) for trial in trials}
    along = "step" if any(map(math.isnan, scales.values())) else "epoch"
    found = {
        trial["row"]: {
            at if along == "step" else round(at * scales[trial["row"]], 6): _lines(grid, trial["image_size"])
            for at, grid in grids[trial["run_id"]].items()
        }
        for trial in trials
    }
    xs = tuple(sorted({x for of_row in found.values() for x in of_row}))
    outputs = {row: tuple(of_row[x][1][0] if x in of_row else None for x in xs) for row, of_row in found.items()}
    first = next(iter(found.values()))
    return Progress(trials[0]["seed"], next(iter(first.values()))[0][0], along, xs, outputs)


def _lines(grid: Picture, image_size: str) -> list[tuple[Picture, ...]]:
    """Return inputs, outputs and neighbours, the three lines of a grid; square images where no size is recorded.

    A grid of one large image is smaller than the image.
    """
    height = len(grid) // 3
    width = min(int(image_size.partition(" x ")[2] or height), grid.shape[1])
    count = grid.shape[1] // width
    tiles = grid[: 3 * height, : count * width].reshape(3, height, count, width, 3).swapaxes(1, 2)
    return [tuple(line) for line in tiles]
