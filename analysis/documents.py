"""Rewrites what README.md shows of a sweep, from the CSV files that are committed beside it."""

from collections.abc import Mapping
from pathlib import Path

from analysis.export import read_csv
from analysis.figures import draw
from analysis.findings import findings
from analysis.paper import load_paper
from analysis.plot_style import to_svg
from analysis.records import RecordsError
from analysis.rendering import in_markdown, markdown_table
from analysis.tables import table

EXPORT = Path("docs/results/stripes")
README = Path("README.md")
# What stands between these lines is generated.
BEGIN, END = "<!-- begin: just docs -->", "<!-- end: just docs -->"
# Columns that README has no room for.
LEFT_OUT = ("KD (small-conv), last ↓", "epoch of the best")
PICTURED = "dots"


def rebuild() -> None:
    """Write the table into README.md, and its picture beside the CSV files."""
    text = with_table(README.read_text(encoding="utf-8"), EXPORT)
    for name, content in pictures(EXPORT).items():
        (EXPORT / name).write_bytes(content)
    README.write_text(text, encoding="utf-8")


def with_table(readme: str, export: Path) -> str:
    """README's text with the table and what it says anew. Raises RecordsError where it has no place for them."""
    head, begin, rest = readme.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise RecordsError(f"{README}: no lines {BEGIN!r} and {END!r}; the table goes between them")
    record, _ = read_csv(export)
    cells = table(record, load_paper()).cells.drop(columns=list(LEFT_OUT))
    said = "\n\n".join(in_markdown(sentence) for sentence in findings(record))
    return f"{head}{begin}\n{markdown_table(cells)}\n\n{said}\n\n{end}{tail}"


def pictures(export: Path) -> Mapping[str, bytes]:
    """README's figure for a light and for a dark page, by the names of the files."""
    (figure,) = (drawing.figure for drawing in draw(*read_csv(export), {}, None) if drawing.name == PICTURED)
    return {f"{PICTURED}.svg": to_svg(figure), f"{PICTURED}-dark.svg": to_svg(figure, dark=True)}
