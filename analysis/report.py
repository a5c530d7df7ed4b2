"""Writes a sweep's tables: Markdown, CSV and LaTeX, from MLflow's records alone."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from analysis.legend import legend
from analysis.runs import SweepRecord, read_sweep
from analysis.tables import summarise, table

REFERENCE = Path(__file__).parent / "reference.yaml"


def write_tables(uri: str, sweep: str, task: str, results: Path, price_per_hour: float | None = None) -> str:
    """Write results/<sweep>/<task>/table.md, .csv and .tex; give the Markdown with its place, to be printed.

    price_per_hour: what an hour costs, in place of what the sweep's record says.
    """
    record = read_sweep(uri, sweep, task)
    record = replace(record, price_per_hour=price_per_hour or record.price_per_hour)
    folder = results / sweep / task
    folder.mkdir(parents=True, exist_ok=True)
    paper = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))
    cells, notes = table(record, paper)
    text = markdown(record, cells, notes)
    _write(folder / "table.md", text)
    _write(folder / "table.csv", csv(record, paper))
    _write(folder / "table.tex", latex(record, cells, notes))
    return f"{text}\n{folder / 'table.md'}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, since tables are rebuilt while others read them."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)


def markdown(record: SweepRecord, cells: pd.DataFrame, notes: list[str]) -> str:
    """A title, the question, the table, and a footnote for each trial that is not in it."""
    escaped = cells.rename(index=_escape_markdown).map(_escape_markdown)
    body = escaped.reset_index().to_markdown(index=False, disable_numparse=True)
    question = [record.question, *([_changed(record)] if record.overrides else [])]
    lines = [f"# {record.sweep} on {record.task}", "", *question, "", body, "", legend(record, cells)]
    lines += ["", *(f"- {_escape_markdown(note)}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def csv(record: SweepRecord, paper: Mapping[str, Mapping[str, float]]) -> str:
    """A line a row: mean, std and n of each value that trials end with, those that the table leaves out among them, and
    the paper's FID on each of its data sets."""
    lines: dict[str, dict[str, str | float | int]] = {}
    for found in summarise(record):
        line = lines.setdefault(found.row, {"row": found.row})
        line |= {f"{found.metric}_mean": found.mean, f"{found.metric}_std": found.std, f"{found.metric}_n": found.n}
    for row in record.rows:
        line = lines.setdefault(row.row, {"row": row.row})
        line |= {f"paper/{data_set}/fid": value for data_set, value in paper.get(row.paper, {}).items()}
    return pd.DataFrame(list(lines.values())).to_csv(index=False, lineterminator="\n")


def latex(record: SweepRecord, cells: pd.DataFrame, notes: list[str]) -> str:
    """A table environment for booktabs."""
    plain = cells.map(_to_latex).rename(index=_to_latex, columns=_to_latex)
    plain.index.name = None
    said = [record.question, _changed(record), legend(record, cells), *(f"{note}." for note in notes)]
    return plain.style.to_latex(
        hrules=True,
        column_format="l" + "r" * plain.shape[1],
        caption=_to_latex(" ".join(said)),
        label=f"tab:{record.sweep}",
        position="t",
    )


def _changed(record: SweepRecord) -> str:
    return f"All rows with {', '.join(record.overrides)}." if record.overrides else ""


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("_", "\\_").replace("<", "&lt;").replace("\n", " ")


_LATEX = {"\\": r"\textbackslash{}", "–": "--", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"}
_LATEX |= {"↓": r"$\downarrow$", "↑": r"$\uparrow$"}
_LATEX |= {"^": r"\textasciicircum{}", **{character: f"\\{character}" for character in "&%$#_{}"}}


def _to_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
