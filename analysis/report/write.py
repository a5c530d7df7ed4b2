"""Write a sweep's results from MLflow's records: tables, CSV files, figures, and a page."""

from dataclasses import dataclass, replace
from pathlib import Path

from analysis.figures.draw import draw
from analysis.figures.image_grid import compare_outputs, pictured
from analysis.figures.style import to_png, to_svg
from analysis.records.csv_files import to_csv
from analysis.records.mlflow_reader import read_course, read_grids, read_sweep, recorded_tasks
from analysis.records.names import DISTANCES
from analysis.report.content import report
from analysis.report.page import page
from analysis.statistics.estimates import main_score, values_of
from analysis.statistics.paper_values import load_paper
from analysis.tables.summary import summary_sentences
from analysis.tables.table import table
from analysis.tables.write import tables_of, write_files

# With more rows, images are too small to compare, and each row adds megabytes to the page.
MOST_PICTURED = 12


@dataclass(frozen=True)
class Written:
    """The folder that was written, the table as Markdown, the summary, and a description of the sweep for MLflow."""

    folder: Path
    table: str
    summary: tuple[str, ...]
    description: str

    def __str__(self) -> str:
        return "\n".join((self.table, *self.summary, "", str(self.folder / "index.html")))


def write_results(uri: str, sweep: str, task: str, results: Path, price_per_hour: float | None = None) -> Written:
    """Write results/<sweep>/<task>: tables, CSV files, figures/, and index.html.

    price_per_hour: of the device; it replaces the price in the sweep's record.
    """
    record = read_sweep(uri, sweep, task)
    record = replace(record, price_per_hour=price_per_hour or record.price_per_hour)
    paper = load_paper()
    score = main_score(values_of(record)) or DISTANCES[0][0]
    course = read_course(uri, record, score)
    made, summary = table(record, paper), summary_sentences(record, course, paper)
    qualitative = compare_outputs(record, read_grids(uri, pictured(record, MOST_PICTURED)))
    folder, tables = results / sweep / task, tables_of(record, made)
    write_files(folder, {**tables, **to_csv(record, course)})
    others = {other: read_sweep(uri, sweep, other) for other in recorded_tasks(uri, sweep) if other != task}
    drawings = draw(record, course, others, qualitative)
    figures = {f"{drawing.name}.svg": to_svg(drawing.figure) for drawing in drawings}
    figures |= {f"{drawing.name}.png": to_png(drawing.figure) for drawing in drawings}
    write_files(folder / "figures", figures)
    for old in (folder / "figures").iterdir():
        if old.suffix in (".svg", ".png") and old.name not in figures:
            old.unlink()
    # Last: a page means that everything is written.
    write_files(folder, {"index.html": page(report(record, made, summary, drawings, qualitative))})
    description = "\n\n".join((record.question, *summary, "Artifacts, results/index.html: the report."))
    return Written(folder, tables["table.md"], summary, description)
