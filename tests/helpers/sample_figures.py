"""Made-up sweeps, the figures drawn of them, and what is in a figure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sample_records import finished, make

from analysis.figures.data import Drawing
from analysis.figures.draw import draw
from analysis.figures.image_grid import Qualitative
from analysis.figures.style import to_pdf, to_png, to_svg
from analysis.records.schema import Setting, SweepRecord

HARD = r"a$b_c$ \d <x> & -- % τ"


NO_COURSE = pd.DataFrame(columns=["row", "seed", "step", "epoch", "value"])


def sweep(scores: Mapping[str, Sequence[float]], **fields: object) -> SweepRecord:
    """Return a sweep whose rows have these last scores, by seed."""
    runs = [finished(row, seed, last__fid=score) for row, of_row in scores.items() for seed, score in enumerate(of_row)]
    return make(runs, **fields)


def course(record: SweepRecord, epochs: int = 3) -> pd.DataFrame:
    """Return the course of all trials, finished or not. Each falls to its seed plus 10."""
    trials = [(trial["row"], trial["seed"]) for trial in record.trials]
    lines = [
        (row, seed, 100 * at, float(at), 10.0 + seed + epochs - at) for row, seed in trials for at in range(epochs)
    ]
    return pd.DataFrame(lines, columns=NO_COURSE.columns)


def drawn(record: SweepRecord, evaluations: pd.DataFrame = NO_COURSE, **others: SweepRecord) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in draw(record, evaluations, others, None)}


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for line in lines(axes, label) for x, y in line.get_xydata()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def everything(row: str = "other") -> list[Drawing]:
    """Every kind of figure, of three rows."""
    settings: dict[str, dict[str, Setting]] = {
        name: {"model.temperature": value} for name, value in {"default": 0.01, row: 0.1, "third": 1.0}.items()
    }
    runs = [
        finished(name, seed, last__fid=10.0 + 9 * at + seed, source__fid=30.0)
        | {"cost/training_peak_live_gb": 2.0 + at, "cost/seconds_per_iteration": 0.1 + seed}
        for at, name in enumerate(settings)
        for seed in (0, 1)
    ]
    record = make(runs, settings=settings)
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    qualitative = Qualitative(0, "a", (picture,), dict.fromkeys(settings, (picture,)), (picture,), 0)
    return draw(record, course(record), {f"of {row}": make(runs, settings=settings)}, qualitative)


def digests(drawings: Iterable[Drawing]) -> list[str]:
    """Return the digests of all files, but of one PDF: a PDF takes most of a second for its fonts."""
    figures = [drawing.figure for drawing in drawings]
    files = [file for figure in figures for file in (to_svg(figure), to_png(figure))]
    return [hashlib.sha256(file).hexdigest() for file in (*files, to_pdf(figures[0]))]
