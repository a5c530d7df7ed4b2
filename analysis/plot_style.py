"""How every figure looks: colours, markers, text, axes, and the bytes of a file; no global state is left changed."""

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.estimates import Estimate
from analysis.records import SweepRecord

WIDTH = 6.5  # inches: a page's text width
NARROW = 4.5
DPI = 200
# Text, axes and the default row; the only colour that differs on a dark page.
INK = "#1b1f24"  # in figures; nothing in an SVG but a colour begins with '#1'
LIGHT_INK = "#e6e9ed"
# After Okabe and Ito, moved to a contrast of 3 and more against both white and the dark page, and kept apart for
# readers who see no red or no green.
COLORS = ("#0064d2", "#db7612", "#01a87e", "#7d5796", "#2099de", "#b14448", "#a987ad", "#9f4f14")
# Seven: with eight colours, no pair repeats before the 57th row.
MARKERS = ("s", "^", "D", "v", "<", "p", ">")
LineStyle = Literal["-", "--", "-.", ":"]
LINES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
SPREAD = 20.0  # the factor above which an axis of distances is logarithmic

LETTER = 0.068  # inches: a letter's mean width at 8 points
LEGEND_LINE = 0.175  # inches
LEGEND_HANDLE = 0.55  # inches: beside a name, with the space between columns
NAME_LETTERS = 40
LEGEND_LETTERS = 30  # of a name among many
LEGEND_MANY = 7

_STYLE: Mapping[str, Any] = {
    **{"font.family": "DejaVu Sans", "font.size": 8, "text.color": INK, "text.parse_math": False},
    **{"axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8},
    **{"axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.7},
    **{"axes.facecolor": "none", "figure.facecolor": "none", "figure.dpi": DPI},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True},
    **{"grid.color": INK, "grid.alpha": 0.13, "grid.linewidth": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
    **{"legend.frameon": False, "svg.fonttype": "path", "svg.hashsalt": "analysis"},
}


def drawing_style() -> AbstractContextManager[None]:
    """What figures are made and written under, whatever the user's own matplotlibrc says."""
    return style.context(["default", dict(_STYLE)])


@dataclass(frozen=True)
class Look:
    """How a row is drawn in every figure, and its name as fits there."""

    name: str
    color: str
    marker: str
    line: LineStyle


def row_looks(record: SweepRecord) -> dict[str, Look]:
    """A look for each row, in the sweep's order; the default row is in ink."""
    looks: dict[str, Look] = {}
    others = [row.row for row in record.rows if row.row != record.default]
    for row in (row.row for row in record.rows):
        if row == record.default:
            looks[row] = Look(shorten(row, NAME_LETTERS), INK, "o", "-")
        else:
            at = others.index(row)
            line = LINES[(at + at // len(COLORS)) % len(LINES)]
            color, marker = COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]
            looks[row] = Look(shorten(row, NAME_LETTERS), color, marker, line)
    return looks


def shorten(text: str, letters: int) -> str:
    """In one line; a longer text keeps both its ends, since names of rows often differ in their last letters only."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if len(plain) <= letters:
        return plain
    head = (letters - 1) // 2
    return f"{plain[:head]}…{plain[len(plain) - (letters - 1 - head) :]}"


def wrap(text: str, letters: int, lines: int) -> str:
    """In up to so many lines of so many letters; a quarter is left for words that do not fill a line."""
    return "\n".join(textwrap.wrap(shorten(text, letters * lines * 3 // 4), letters, max_lines=lines, placeholder="…"))


def legend_height(looks: Sequence[Look], width: float) -> float:
    """Inches that `add_legend` takes in a figure of that width."""
    return math.ceil(len(looks) / _legend_columns(_legend_names(looks), width)) * LEGEND_LINE + 0.1


def add_legend(figure: Figure, looks: Sequence[Look], *, lines: bool) -> None:
    """Rows below the axes, in columns; with their lines, or by their markers alone."""
    names = _legend_names(looks)
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle=look.line if lines else "none", markersize=4.5)
        for look in looks
    ]
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=_legend_columns(names, figure.get_figwidth()),
        handlelength=2.4 if lines else 1.0,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _legend_names(looks: Sequence[Look]) -> list[str]:
    return [shorten(look.name, LEGEND_LETTERS if len(looks) >= LEGEND_MANY else NAME_LETTERS) for look in looks]


def _legend_columns(names: Sequence[str], width: float) -> int:
    """The most columns that fit beside one another, each as wide as its longest name."""
    for columns in range(len(names), 1, -1):
        longest = [max(len(name) for name in column) for column in np.array_split(names, columns)]
        if sum(letters * LETTER + LEGEND_HANDLE for letters in longest) <= width:
            return columns
    return 1


def needs_log(values: Iterable[float]) -> bool:
    """Whether distances are so far apart that a linear axis would press the small ones together."""
    known = np.asarray(list(values), float)
    return bool(known.min() > 0 and known.max() / known.min() > SPREAD)


def scale_x(axes: Axes, limits: tuple[float, float], *, log: bool) -> None:
    """The x axis from limit to limit."""
    if log:
        axes.set_xscale("log")
        _set_log_ticks(axes.xaxis, *limits)
    axes.set_xlim(limits)


def scale_y(axes: Axes, limits: tuple[float, float], *, log: bool) -> None:
    """The y axis from limit to limit."""
    if log:
        axes.set_yscale("log")
        _set_log_ticks(axes.yaxis, *limits)
    axes.set_ylim(limits)


def _set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """1, 2 and 5 of each power of ten, or 1 alone over three powers and more, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def axis_limits(
    points: Iterable[float], bounds: Iterable[float] = (), near: float | None = None, *, log: bool
) -> tuple[float, float]:
    """Ends of an axis that holds all points, and bounds of intervals (nan: none) as far as half the points' range away.

    near: a value that is taken in where it is less than a third of the axis away. Never below 0 for points above it.
    """
    known = np.asarray(list(points), float)
    known = known[~np.isnan(known)]
    wanted = np.asarray([*bounds, *known], float)
    if log:
        tiny = known.min() / 1e9
        known, wanted = np.log10(known), np.log10(np.maximum(wanted, tiny))
        near = math.log10(max(near, tiny)) if near is not None else None
    room = float(np.ptp(known)) or (0.3 if log else abs(float(known[0])) or 1.0)
    low = max(float(np.nanmin(wanted)) - 0.06 * room, float(known.min()) - 0.5 * room)
    high = min(float(np.nanmax(wanted)) + 0.06 * room, float(known.max()) + 0.5 * room)
    if near is not None and low - (high - low) / 3 < near < high + (high - low) / 3:
        low, high = min(low, near - 0.06 * room), max(high, near + 0.06 * room)
    if log:
        return 10**low, 10**high
    return (max(low, 0.0) if known.min() >= 0 else low), high


def mark_seeds(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    """An open marker a seed."""
    rings = axes.plot(x, y, color=look.color, marker=look.marker, linestyle="none", markersize=5, label="seeds")
    rings[0].set(markerfacecolor="none", alpha=0.65, zorder=3)


def mark_mean(axes: Axes, x: float, y: float, look: Look) -> None:
    """A filled marker over those of the seeds."""
    axes.plot(x, y, color=look.color, marker=look.marker, linestyle="none", markersize=7, zorder=4, label="mean")


def mark_best(axes: Axes, x: float, y: float, look: Look) -> None:
    """A star over all else."""
    star = axes.plot(x, y, color=look.color, marker="*", linestyle="none", markersize=7.5, zorder=5, label="best")
    star[0].set(markeredgecolor=INK, markeredgewidth=0.5)


def mark_clipped(axes: Axes, x: float, y: float, marker: int, look: Look) -> None:
    """An arrow head with its tip at an end of an axis."""
    axes.plot(x, y, color=look.color, marker=marker, linestyle="none", markersize=5, clip_on=False, label="arrow")


def mark_deviation(axes: Axes, x: Estimate, y: Estimate, look: Look) -> None:
    """A marker at two means, with thin bars of ± their standard deviations where there are any."""
    axes.errorbar(
        x.mean,
        y.mean,
        xerr=None if math.isnan(x.std) else x.std,
        yerr=None if math.isnan(y.std) else y.std,
        color=look.color,
        marker=look.marker,
        linestyle="none",
        markersize=6,
        elinewidth=0.7,
        zorder=3,
        label="means",
    )


def write_above(axes: Axes, x: float, text: str) -> None:
    """Over the axes, at a place of the x axis."""
    axes.annotate(text, (x, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", va="bottom")


def spread_limits(means: Iterable[Estimate], *, log: bool) -> tuple[float, float]:
    """Ends of an axis that holds means, and their standard deviations as far as `axis_limits` lets them."""
    known = list(means)
    tops, bottoms = [mean.mean + mean.std for mean in known], [mean.mean - mean.std for mean in known]
    return axis_limits([*(mean.mean for mean in known), *tops], bottoms, log=log)


def freeze(figure: Figure) -> Figure:
    """Lay out once, so that writing it a second time, or in another format, does not move anything."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def to_svg(figure: Figure, *, dark: bool = False) -> bytes:
    """A transparent SVG, text as outlines, the same bytes for the same figure; dark: for a dark page."""
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    written = io.BytesIO()
    with drawing_style():
        figure.savefig(written, format="svg", dpi=DPI, metadata=nothing)
    return written.getvalue().replace(INK.encode(), LIGHT_INK.encode()) if dark else written.getvalue()


def to_png(figure: Figure) -> bytes:
    """A PNG of 200 dots per inch on white, the same bytes for the same figure."""
    written = io.BytesIO()
    with drawing_style():
        figure.savefig(written, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return written.getvalue()
