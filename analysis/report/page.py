"""Render a sweep's report as one self-contained HTML page; pure."""

import io
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from analysis.figures.image_grid import Progress, Qualitative
from analysis.report.settings import Pairs

TEMPLATE = "page.html.jinja"
# Trials, or settings, that are shown unfolded; longer lists are folded.
AT_ONCE = 12
# A table with more lines is longer than a screen: it scrolls below its fixed heading.
LONG = 40
# Figures of at least this many CSS pixels take the full width.
WIDE = 600
# Images with a side shorter than this are enlarged without smoothing.
COARSE = 128


@dataclass(frozen=True)
class FigureView:
    """A figure: SVG files for a light and for a dark page, and their size in CSS pixels."""

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
    """A line in the list of trials. state: "done", or why it is not. url: of the MLflow run, or ''."""

    row: str
    seed: int
    state: str
    key: str
    url: str


@dataclass(frozen=True)
class Report:
    """The page's content.

    moment: of which trials it is, and of when. summary: paragraphs. table: HTML with escaped text; anything before the
    table element is dropped. caption, notes: the text below the table. how_made: a paragraph for an appendix. main:
    names and values of the settings that are asked for first. settings: those of all rows. differing: a head of names
    and a line a row. times, provenance: names and values. commands: purpose and command line. Everything except the
    table is plain text.
    """

    sweep: str
    task: str
    question: str
    moment: str
    summary: tuple[str, ...]
    table: str
    caption: str
    notes: tuple[str, ...]
    figures: tuple[FigureView, ...]
    qualitative: Qualitative | None
    progress: Progress | None
    how_made: str
    main: Pairs
    settings: Pairs
    differing: tuple[tuple[str, ...], ...]
    times: Pairs
    provenance: Pairs
    trials: tuple[TrialLine, ...]
    commands: tuple[tuple[str, str], ...]


def page(report: Report) -> str:
    """Return the page's HTML; the same report gives the same text."""
    lines: Sequence[object] = ()
    if images := report.qualitative:
        outputs = zip(*images.outputs.values(), strict=False)
        lines = list(zip(images.inputs, outputs, images.neighbours, strict=False))
    return render(
        TEMPLATE,
        report=report,
        # Without the style element of pandas, which the page's policy would block.
        table=Markup(report.table[report.table.index("<table") :]),  # noqa: S704 (pandas has escaped its texts)
        # Source, translations and neighbour of each test image that all rows have.
        images=lines,
        long=LONG,
        at_once=AT_ONCE,
        wide=WIDE,
        coarse=COARSE,
    )


def render(template: str, **values: object) -> str:
    """Return the HTML of a template beside this file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"digest": _digest, "breakable": _breakable, "base64": _base64, "png": _png}
    return environment.get_template(template).render(values)


def _digest(text: str) -> str:
    """Return the hash by which a content security policy allows an inline style or script."""
    return f"sha256-{_base64(sha256(text.encode()).digest())}"


def _breakable(text: str) -> Markup:
    """Allow line breaks in a long name after =, +, /, _ and the comma."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[=+/_,])(?=\w)", text))


def _base64(file: bytes) -> str:
    return b64encode(file).decode()


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()
