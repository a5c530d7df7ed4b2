"""A sweep's report as one page that needs nothing beside itself; pure."""

import io
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from analysis.qualitative import Qualitative

TEMPLATE = "page.html.jinja"
# Trials that are shown at once; more of them are folded away.
TRIALS_AT_ONCE = 12
# Lines of a table that is longer than a screen: it scrolls by itself, below its heading.
LONG = 40
# Figures of this many CSS pixels take a line of their own.
WIDE = 700
# Images with a shorter side show their pixels when enlarged.
COARSE = 128
# CSS pixels of the units that an SVG's size may have.
PIXELS = {"": 1, "px": 1, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: two SVG files, for a light and for a dark page, both of one size."""

    name: str
    title: str
    caption: str
    alt: str
    light: bytes
    dark: bytes


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
    pictures: tuple[Picture, ...]
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
    """The page's HTML; the same report gives the same text. Raises ValueError where a figure's size is not known."""
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
        pictures=[(picture, _figure(picture.light), _figure(picture.dark)) for picture in report.pictures],
        images=_lines(report.qualitative) if report.qualitative else [],
        long=report.table.count("<tr") > LONG,
        trials_at_once=TRIALS_AT_ONCE,
        wide=WIDE,
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


def _figure(svg: bytes) -> Tile:
    root = ElementTree.fromstring(svg)
    sizes = [_pixels(root.get(side, "")) for side in ("width", "height")]
    if None in sizes:
        sizes = [float(size) for size in re.split(r"[\s,]+", root.get("viewBox", "").strip())[2:] if size]
    if len(sizes) != 2 or not all(sizes):
        raise ValueError("a figure's SVG needs a width and a height, or a viewBox")
    width, height = (round(size or 0) for size in sizes)
    return Tile(_address("image/svg+xml", svg), width, height)


def _pixels(length: str) -> float | None:
    """A length of SVG in CSS pixels; None where it is none, or relative."""
    found = re.fullmatch(r"\s*([\d.]+)([a-z]*)\s*", length)
    return float(found[1]) * PIXELS[found[2]] if found and found[2] in PIXELS else None


def _address(media_type: str, file: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(file).decode()}"
