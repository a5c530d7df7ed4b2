"""The style of all figures: colours, markers, text, axes and file formats. Leaves no global state changed."""

import io
import math
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import font_manager, markers, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

WIDTH = 6.5  # inches: a page's text width
NARROW = 4.5
DPI = 200
# Text, axes and the default row. The only colour that differs on a dark page.
INK = "#1b1f24"  # no id in an SVG starts with '#1', so for_dark_page can replace it
LIGHT_INK = "#e6e9ed"
# Based on Okabe and Ito. Changed to a contrast of at least 3 on white and on the dark page. Readers who see no red or
# no green can distinguish them.
COLORS = ("#0064d2", "#db7612", "#01a87e", "#7d5796", "#2099de", "#b14448", "#a987ad", "#9f4f14")
# Seven markers and eight colours: no pair repeats before the 57th row.
MARKERS = ("s", "^", "D", "v", "<", "p", ">")
LineStyle = Literal["-", "--", "-.", ":"]
LINES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
SPREAD = 20.0  # an axis is logarithmic above this ratio of its values
TINY = 1e-100  # smaller values count as 0
Along = Literal["x", "y"]

# Fonts for letters that DejaVu lacks; only those that are installed.
FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Noto Emoji")

LETTER = 0.068  # inches: mean width of a letter at 8 points
LEGEND_LINE = 0.175  # inches
LEGEND_HANDLE = 0.55  # inches: a handle and the space between columns
NAME_LETTERS = 40
LEGEND_LETTERS = 30  # of a name in a legend of many
LEGEND_MANY = 7
FRONT_POINTS = 7.0  # the width of the Pareto front, broad and pale: bars of deviations are thin lines, too

_STYLE: Mapping[str, Any] = {
    "font.size": 8, "text.color": INK, "text.parse_math": False,
    "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.7,
    "axes.facecolor": "none", "figure.facecolor": "none", "figure.dpi": DPI,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "grid.color": INK, "grid.alpha": 0.13, "grid.linewidth": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
    "legend.frameon": False, "svg.fonttype": "path", "svg.hashsalt": "analysis", "pdf.fonttype": 42,
}  # fmt: skip


@contextmanager
def drawing_style() -> Iterator[None]:
    """Apply the style for drawing and writing figures, independent of the user's matplotlibrc."""
    # matplotlib logs a warning for a font without a normal weight.
    installed = {font.name for font in font_manager.fontManager.ttflist if font.weight == 400}
    family = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]
    with style.context(["default", {**_STYLE, "font.family": family}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


@dataclass(frozen=True)
class Look:
    """How a row is drawn in every figure. name: shortened to fit there."""

    name: str
    color: str
    marker: str
    line: LineStyle


def row_looks(rows: Sequence[str], default: str) -> dict[str, Look]:
    """Return a look for each row, in their order. The default row has the colour of text."""
    looks: dict[str, Look] = {}
    for row, name in zip(rows, tell_apart(rows, NAME_LETTERS), strict=True):
        at = len(looks) - (default in looks)
        color, marker = COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]
        line = LINES[(at + at // len(COLORS)) % len(LINES)]
        looks[row] = Look(name, INK, "o", "-") if row == default else Look(name, color, marker, line)
    return looks


def tell_apart(texts: Sequence[str], letters: int) -> list[str]:
    """Shorten texts to one line of so many letters, and keep them different.

    Long texts first lose the words that all long texts share. Texts that are then equal are numbered.
    """
    plain = [_in_one_line(text) for text in texts]
    words = {text: re.findall(r"[^,;\s]+[,;\s]*", text) for text in plain if len(text) > letters}
    shared = set[str]().union(*words.values()).intersection(*words.values()) if len(words) > 1 else set[str]()
    counts = Counter[str]()
    names: dict[str, None] = {}
    for text in plain:
        kept = re.sub("…+", "…", "".join("…" if word in shared else word for word in words.get(text, [text])))
        name = same = shorten(kept, letters)
        counts[same] += 1
        while name in names:
            mark = f" ({max(counts[same], 2)})"
            name = shorten(kept, letters - len(mark)) + mark
            counts[same] += name in names
        names[name] = None
    return list(names)


def _in_one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shorten(text: str, letters: int) -> str:
    """Shorten a text in the middle, since names of rows often differ only in their last letters."""
    plain = _in_one_line(text)
    if len(plain) <= letters:
        return plain
    head = (letters - 1) // 2
    return f"{plain[:head]}…{plain[len(plain) - (letters - 1 - head) :]}"


def spell(values: Sequence[float]) -> list[str]:
    """Format numbers with as many digits as distinguish them."""
    spelt = [[f"{value:.{digits}g}" for value in values] for digits in range(6, 18)]
    return next((texts for texts in spelt if len(set(texts)) == len(set(values))), spelt[-1])


def wrap(text: str, letters: int, lines: int) -> str:
    """Wrap a text to at most so many lines of so many letters. A quarter is spare, since words do not fill lines."""
    return "\n".join(textwrap.wrap(shorten(text, letters * lines * 3 // 4), letters, max_lines=lines, placeholder="…"))


def add_legend(figure: Figure, looks: Sequence[Look], *, lines: bool) -> None:
    """Add a legend of rows below the axes, in columns, and its height to the figure's. lines: show line styles, too."""
    names = tell_apart([look.name for look in looks], LEGEND_LETTERS if len(looks) >= LEGEND_MANY else NAME_LETTERS)
    columns = _legend_columns(names, figure.get_figwidth())
    height = math.ceil(len(looks) / columns) * LEGEND_LINE + 0.1
    figure.set_figheight(figure.get_figheight() + height)
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle=look.line if lines else "none", markersize=4.5)
        for look in looks
    ]
    spaces = {"handlelength": 2.4 if lines else 1.0, "columnspacing": 1.4, "borderaxespad": 0.2}
    figure.legend(handles, names, loc="outside lower center", ncols=columns, **spaces)


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Return the largest number of columns that fit, each as wide as its longest name."""
    for columns in range(len(names), 1, -1):
        longest = [max(len(name) for name in column) for column in np.array_split(names, columns)]
        if sum(letters * LETTER + LEGEND_HANDLE for letters in longest) <= width:
            return columns
    return 1


def needs_log(values: Iterable[float]) -> bool:
    """Return whether a logarithmic axis is better, since values differ by more than a factor of SPREAD."""
    known = np.asarray(list(values), float)
    return bool(known.min() > TINY and np.ptp(np.log(known)) > math.log(SPREAD))


def scale(axes: Axes, along: Along, limits: tuple[float, float], *, log: bool) -> None:
    """Set an axis's limits and ticks. A logarithmic axis has ticks at 1, 2 and 5 of each power of ten, or only at 1."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    if log:
        axes.set(**{f"{along}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0,) if limits[1] / limits[0] > 1000 else (1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set(**{f"{along}lim": limits})


def axis_limits(
    points: Iterable[float],
    bounds: Iterable[float] = (),
    near: float | None = None,
    *,
    log: bool,
    signed: bool = False,
) -> tuple[float, float]:
    """Return the limits of an axis that shows all points, and bounds of bars up to half the points' range away.

    bounds: nan for none. near: a value that is included if it is less than a third of the axis away. Where no point is
    negative, the axis starts at 0, or slightly below to show a point at 0 completely; not with signed.
    """
    known = np.asarray(list(points), float)
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
    starts_at_zero = known.min() >= 0 and not signed
    return (max(low, min(0.0, float(known.min()) - 0.04 * room)) if starts_at_zero else low), high


def mark_bar(axes: Axes, along: Along, at: float, ends: tuple[float, float], look: Look, width: float) -> bool:
    """Draw a bar along one axis, whose limits are set, at a position of the other; nothing where the ends are nan.

    Where the bar continues beyond the axis, draw an arrow head. Return whether it does.
    """
    if math.isnan(ends[0]):
        return False
    low, high = axes.get_xlim() if along == "x" else axes.get_ylim()
    seen = [max(ends[0], low), min(ends[1], high)]
    line = axes.plot(*((seen, [at, at]) if along == "x" else ([at, at], seen)), color=look.color, label="bar")
    line[0].set(linewidth=width, zorder=2)
    left, right = (markers.CARETLEFT, markers.CARETRIGHT) if along == "x" else (markers.CARETDOWN, markers.CARETUP)
    cut = [*([(low, left)] if ends[0] < low else []), *([(high, right)] if ends[1] > high else [])]
    for end, marker in cut:
        tip = axes.plot(*((end, at) if along == "x" else (at, end)), color=look.color, marker=marker, label="arrow")
        tip[0].set(markersize=5, clip_on=False)
    return bool(cut)


def mark_best(axes: Axes, line: pd.Series, look: Look) -> None:
    """Draw a star on top of everything, at the first of a line's lowest values."""
    star = axes.plot(
        line.index[line.argmin()], line.min(), color=look.color, marker="*", linestyle="none", label="best"
    )
    star[0].set(markersize=7.5, zorder=5, markeredgecolor=INK, markeredgewidth=0.5)


def write_above(axes: Axes, x: float, text: str) -> None:
    """Write a text above the axes, at a position of the x axis."""
    axes.annotate(text, (x, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", va="bottom")


def to_svg(figure: Figure) -> bytes:
    """Return a transparent SVG for a light page with text as outlines, reproducible to the byte."""
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    written = io.BytesIO()
    with drawing_style():
        figure.savefig(written, format="svg", dpi=DPI, metadata=nothing)
    return written.getvalue()


def for_dark_page(svg: bytes) -> bytes:
    """Return a file of `to_svg` with text and axes in light ink."""
    return svg.replace(INK.encode(), LIGHT_INK.encode())


def to_pdf(figure: Figure) -> bytes:
    """Return a transparent PDF for a paper, with its fonts, reproducible to the byte."""
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    written = io.BytesIO()
    with drawing_style():
        figure.savefig(written, format="pdf", dpi=DPI, metadata=nothing)
    return written.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a PNG of 200 dots per inch on white, reproducible to the byte."""
    written = io.BytesIO()
    with drawing_style():
        figure.savefig(written, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return written.getvalue()
