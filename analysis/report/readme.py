"""Rewrite the generated parts of documents from the results that are committed with them."""

from collections.abc import Mapping
from pathlib import Path

from analysis.figures.draw import draw
from analysis.figures.style import for_dark_page
from analysis.records.csv_files import read_csv
from analysis.records.schema import RecordsError
from analysis.report.benchmarks import measurements_section, read_measurement
from analysis.statistics.paper_values import load_paper
from analysis.tables.columns import column_of
from analysis.tables.formats import in_markdown, markdown_table
from analysis.tables.rounding import rounding_table
from analysis.tables.summary import summary_sentences
from analysis.tables.table import table

# A folder of CSV files for each sweep.
EXPORTS = Path("docs/results/stripes")
OF_PHOTOGRAPHS = Path("docs/results/cat2dog-64/photos")
OF_PICTURES = Path("docs/results/pictures/sincut")
# The same sweep as OF_README, computed in other ways.
ROUNDING = Path("docs/results/rounding")
USUAL = "as usual: one thread, channels last, float32"
EMBEDDED = Path("docs/embedded.md")
SINGLE_IMAGES = Path("docs/single_images.md")
README = Path("README.md")
OF_README = EXPORTS / "ablation_negatives"
BENCHMARKS = Path("docs/results/performance")
PERFORMANCE = Path("docs/performance.md")
# Columns that documents have no room for, and those that they show only if the rows differ.
LEFT_OUT = ("last/kd_small_conv", "best/fd_small_conv", "best/epoch", "last/background_change")
IF_DIFFERENT = ("last/objects_lost", "last/objects_invented")
PICTURED = "dots"


def rebuild() -> None:
    """Write the generated parts of every document, and README's figure next to the CSV files."""
    for name, content in pictures(OF_README).items():
        (OF_README / name).write_bytes(content)
    for document, parts in generated_parts(Path()).items():
        text = document.read_text(encoding="utf-8")
        document.write_text(with_generated(text, parts, document), encoding="utf-8")


def generated_parts(root: Path) -> Mapping[Path, Mapping[str, str]]:
    """Return the generated parts of each document by their names, from the files below the project's root."""
    sweeps = {
        export.name: sweep_section(export) for export in (*sorted((root / EXPORTS).iterdir()), root / OF_PHOTOGRAPHS)
    }
    ways = {USUAL: root / OF_README} | {
        path.name.replace("-", " "): path for path in sorted((root / ROUNDING).iterdir())
    }
    rounding = rounding_table({way: read_csv(export)[0] for way, export in ways.items()})
    return {
        README: {OF_README.name: sweep_table(root / OF_README)},
        EMBEDDED: {**sweeps, "rounding": markdown_table(rounding)},
        SINGLE_IMAGES: {OF_PICTURES.name: sweep_section(root / OF_PICTURES)},
        PERFORMANCE: {"benchmarks": benchmark_tables(root / BENCHMARKS)},
    }


def with_generated(text: str, parts: Mapping[str, str], document: Path) -> str:
    """Return the document's text with each generated part between its lines.

    Raises RecordsError where the document lacks these lines.
    """
    for name, generated in parts.items():
        first, last = f"<!-- begin: just docs, {name} -->", f"<!-- end: just docs, {name} -->"
        head, begin, rest = text.partition(f"{first}\n")
        _, end, tail = rest.partition(last)
        if not (begin and end):
            raise RecordsError(
                f"{document} lacks the line {first!r} or {last!r}. The generated part goes between them."
            )
        text = f"{head}{begin}\n{generated}\n\n{end}{tail}"
    return text


def sweep_section(export: Path) -> str:
    """Return a sweep's table and summary for documents, from a folder of CSV files."""
    return f"{sweep_table(export)}\n\n{sweep_findings(export)}"


def sweep_table(export: Path) -> str:
    """Return a sweep's table for documents, from a folder of CSV files."""
    record, _ = read_csv(export)
    cells = table(record, load_paper()).cells
    of_rows = cells.loc[[row.row for row in record.rows]]
    titles = [column_of(metric).title for metric in IF_DIFFERENT]
    equal = [title for title in titles if title in cells and of_rows[title].nunique() == 1]
    unwanted = [column_of(metric).title for metric in LEFT_OUT]
    return markdown_table(cells.drop(columns=[*unwanted, *equal], errors="ignore"))


def sweep_findings(export: Path) -> str:
    """Return a sweep's summary for documents, from a folder of CSV files."""
    record, course = read_csv(export)
    return "\n\n".join(map(in_markdown, summary_sentences(record, course, load_paper())))


def benchmark_tables(folder: Path) -> str:
    """Return the tables of docs/performance.md, from a folder of JSON files, which need not exist.

    Raises RecordsError for a file that is not the output of a bench.
    """
    files = sorted(folder.glob("*.json"))
    return measurements_section([read_measurement(file.read_text(encoding="utf-8"), str(file)) for file in files])


def pictures(export: Path) -> Mapping[str, bytes]:
    """Return README's figure for a light and for a dark page, by file name."""
    (svg,) = (drawing.svg for drawing in draw(*read_csv(export), {}, None) if drawing.name == PICTURED)
    return {f"{PICTURED}.svg": svg, f"{PICTURED}-dark.svg": for_dark_page(svg)}
