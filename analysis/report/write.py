"""Write a sweep's results from MLflow's records: tables, CSV files, figures, and a page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.figures.draw import draw
from analysis.figures.image_grid import compare_outputs, pictured, show_progress
from analysis.figures.style import to_pdf, to_png
from analysis.records.csv_files import to_csv
from analysis.records.names import MAIN_SCORES, SECONDS_PER_ITERATION, score_label
from analysis.records.schema import SweepRecord
from analysis.report.content import report
from analysis.report.overview import write_overview
from analysis.report.page import page
from analysis.report.written import Written
from analysis.statistics.estimates import best_row, main_score, values_of
from analysis.statistics.paper_values import load_paper
from analysis.store.evaluations import read_course, read_grids
from analysis.store.overview import recorded_tasks
from analysis.store.reader import read_sweep
from analysis.tables.columns import column_of
from analysis.tables.summary import summary_sentences
from analysis.tables.table import Table, table
from analysis.tables.write import tables_of, write_files

# Each row may add megabytes to the page.
MOST_PICTURED = 20
# Of each row's evaluations, so many have an image on the page.
MOST_EPOCHS = 6


def write_results(
    uri: str,
    sweep: str,
    task: str,
    results: Path,
    price_per_hour: float | None = None,
    columns: Sequence[str] = (),
) -> Written:
    """Write results/<sweep>/<task>: tables, CSV files, figures/, and index.html; then results/index.html.

    price_per_hour: of the device; it replaces the price in the sweep's record. columns: further ones of table.tex.
    """
    record = read_sweep(uri, sweep, task)
    record = replace(record, price_per_hour=price_per_hour or record.price_per_hour)
    paper = load_paper()
    score = main_score(values_of(record)) or MAIN_SCORES[0]
    course = read_course(uri, record, score)
    made, summary = table(record, paper), summary_sentences(record, course, paper)
    grids = read_grids(uri, pictured(record, MOST_PICTURED), MOST_EPOCHS)
    qualitative = compare_outputs(record, {run: of_run[max(of_run)] for run, of_run in grids.items()})
    folder, tables = results / sweep / task, tables_of(record, made, columns)
    write_files(folder, {**tables, **to_csv(record, course)})
    others = {other: read_sweep(uri, sweep, other) for other in recorded_tasks(uri, sweep) if other != task}
    drawings = draw(record, course, others, qualitative)
    figures: dict[str, bytes] = {}
    for drawing in drawings:
        files = {"svg": drawing.svg, "png": to_png(drawing.figure), "pdf": to_pdf(drawing.figure)}
        figures |= {f"{drawing.name}.{kind}": file for kind, file in files.items()}
    write_files(folder / "figures", figures)
    for old in (folder / "figures").iterdir():
        if old.suffix in (".svg", ".png", ".pdf") and old.name not in figures:
            old.unlink()
    # Last: a page means that everything is written.
    shown = report(record, made, summary, drawings, qualitative, show_progress(record, grids))
    write_files(folder, {"index.html": page(shown)})
    write_overview(results)
    description = "\n\n".join((record.question, *summary, "Artifacts, results/index.html: the report."))
    return Written(folder, *_for_terminal(made), _best(record), summary, description)


def _for_terminal(made: Table) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the titles and the rows of a narrow table: n, the main score with its difference, and the time."""
    titles = [title for title in ("n", *made.main, column_of(SECONDS_PER_ITERATION).title) if title in made.cells]
    cells = made.cells[titles]
    return ("row", *titles), tuple((str(row), *map(str, texts)) for row, *texts in cells.itertuples(name=None))


def _best(record: SweepRecord) -> str:
    """Return a sentence on the row with the lowest distance; '' where there is nothing to choose from."""
    found = best_row(record)
    if found is None or len(record.rows) < 2:
        return ""
    row, score, line = found
    return (
        f"Lowest {score_label(score)}: {row}, {line.mean:.4g} (mean of {line.n} seeds)."
        if line.n > 1
        else (f"Lowest {score_label(score)}: {row}, {line.mean:.4g} (1 seed).")
    )
