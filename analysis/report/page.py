"""A sweep's report as one page that needs nothing beside itself; pure."""

import io
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from analysis.figures.image_grid import Qualitative

TEMPLATE = "page.html.jinja"
# Trials, and settings, that are shown at once; more of them are folded away.
AT_ONCE = 12
# Lines of a table that is longer than a screen: it scrolls by itself, below its heading.
LONG = 40
# Figures of this many CSS pixels take a line of their own.
WIDE = 600
# No figure is shown at less than this part of its size: its text, of 8 pt, is then 9 CSS pixels high.
LEAST = 0.85
# Images with a shorter side show their pixels when enlarged.
COARSE = 128


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it: two SVG files, for a light and for a dark page, both of one size in CSS pixels."""

    name: str
    title: str
    caption: str
    alt: str
    light: bytes
    dark: bytes
    width: float
    height: float


@dataclass(frozen=True)
class TrialLine:
    """A trial as listed; state: "done", or why it is not; url: of its MLflow run, '' if it has none."""

    row: str
    seed: int
    state: str
    key: str
    url: str


@dataclass(frozen=True)
class Report:
    """What the page says.

    findings: sentences. table: HTML of a table, its text escaped already; what stands before the table is left out.
    legend, notes: the text below it. settings: what all rows share. provenance: what made the results. commands: what
    each does, and the command line. Everything but the table is plain text.
    """

    sweep: str
    task: str
    question: str
    findings: tuple[str, ...]
    table: str
    legend: str
    notes: tuple[str, ...]
    figures: tuple[FigureView, ...]
    qualitative: Qualitative | None
    settings: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    trials: tuple[TrialLine, ...]
    commands: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tile:
    """An image of the qualitative ablation, or a figure: an address that holds it, and its size in CSS pixels."""

    address: str
    width: int
    height: int


def page(report: Report) -> str:
    """The page's HTML; the same report gives the same text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"digest": _digest, "breakable": _breakable}
    return environment.get_template(TEMPLATE).render(
        report=report,
        table=_bare(report.table),
        figures=[(figure, _drawn(figure, figure.light), _drawn(figure, figure.dark)) for figure in report.figures],
        images=_lines(report.qualitative) if report.qualitative else [],
        long=report.table.count("<tr") > LONG,
        at_once=AT_ONCE,
        wide=WIDE,
        least=LEAST,
        coarse=COARSE,
    )


def _digest(text: str) -> str:
    """What a content security policy calls an inline style or script by."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _breakable(text: str) -> Markup:
    """A name that, where it is too long for one line, goes on after one of =, +, /, _ and the comma."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[=+/_,])(?=\w)", text))


def _bare(table: str) -> Markup:
    """The table without the style block that pandas puts before it, which the page's policy would refuse."""
    _, start, rest = table.partition("<table")
    return Markup(start + rest)


def _lines(qualitative: Qualitative) -> list[tuple[Tile, list[Tile], Tile]]:
    """For each test image its source, its translation by each row, and the neighbour; as many as all rows have."""
    outputs = zip(*qualitative.outputs.values(), strict=False)
    lines = zip(qualitative.inputs, outputs, qualitative.neighbours, strict=False)
    return [(_tile(source), [_tile(each) for each in by_row], _tile(near)) for source, by_row, near in lines]


def _tile(image: NDArray[np.uint8]) -> Tile:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    height, width = image.shape[:2]
    return Tile(_address("image/png", file.getvalue()), width, height)


def _drawn(figure: FigureView, svg: bytes) -> Tile:
    return Tile(_address("image/svg+xml", svg), round(figure.width), round(figure.height))


def _address(media_type: str, file: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(file).decode()}"
