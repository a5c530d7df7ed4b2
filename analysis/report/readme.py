"""Rewrite the generated parts of documents from the results that are committed with them."""

from collections.abc import Mapping
from pathlib import Path

from analysis.figures.draw import draw
from analysis.figures.style import to_svg
from analysis.records.csv_files import read_csv
from analysis.records.schema import RecordsError
from analysis.report.benchmarks import measurements_section, read_measurement
from analysis.statistics.paper_values import load_paper
from analysis.tables.columns import column_of
from analysis.tables.formats import in_markdown, markdown_table
from analysis.tables.summary import summary_sentences
from analysis.tables.table import table

EXPORT = Path("docs/results/stripes")
README = Path("README.md")
BENCHMARKS = Path("docs/results/performance")
PERFORMANCE = Path("docs/performance.md")
# The text between these lines is generated.
BEGIN, END = "<!-- begin: just docs -->", "<!-- end: just docs -->"
# Columns that README has no room for.
LEFT_OUT = (
    "last/kd_small_conv", "best/fd_small_conv", "best/epoch", "last/objects_lost", "last/objects_invented",
    "last/background_change",
)  # fmt: skip
PICTURED = "dots"


def rebuild() -> None:
    """Write the generated part of every document, and README's figure next to the CSV files."""
    for name, content in pictures(EXPORT).items():
        (EXPORT / name).write_bytes(content)
    for document, generated in ((README, sweep_table(EXPORT)), (PERFORMANCE, benchmark_tables(BENCHMARKS))):
        text = with_generated(document.read_text(encoding="utf-8"), generated, document)
        document.write_text(text, encoding="utf-8")


def with_generated(text: str, generated: str, document: Path) -> str:
    """Return the document's text with the generated part between BEGIN and END.

    Raises RecordsError where the document lacks these lines.
    """
    head, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise RecordsError(f"{document} lacks the line {BEGIN!r} or {END!r}. The generated part goes between them.")
    return f"{head}{begin}\n{generated}\n\n{end}{tail}"


def sweep_table(export: Path) -> str:
    """Return README's table of a sweep and its summary, from a folder of CSV files."""
    (record, _), paper = read_csv(export), load_paper()
    cells = table(record, paper).cells.drop(columns=[column_of(metric).title for metric in LEFT_OUT], errors="ignore")
    return "\n\n".join([markdown_table(cells), *map(in_markdown, summary_sentences(record, paper))])


def benchmark_tables(folder: Path) -> str:
    """Return the tables of docs/performance.md, from a folder of JSON files, which need not exist.

    Raises RecordsError for a file that is not the output of a bench.
    """
    files = sorted(folder.glob("*.json"))
    return measurements_section([read_measurement(file.read_text(encoding="utf-8"), str(file)) for file in files])


def pictures(export: Path) -> Mapping[str, bytes]:
    """Return README's figure for a light and for a dark page, by file name."""
    (figure,) = (drawing.figure for drawing in draw(*read_csv(export), {}, None) if drawing.name == PICTURED)
    return {f"{PICTURED}.svg": to_svg(figure), f"{PICTURED}-dark.svg": to_svg(figure, dark=True)}
