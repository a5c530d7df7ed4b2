"""A table as Markdown, LaTeX and HTML, through pandas and its Styler; pure."""

from textwrap import wrap

import pandas as pd

from analysis.legend import legend
from analysis.records import SweepRecord
from analysis.tables import Table

# What the LaTeX before the table must load.
PACKAGES = r"\usepackage{booktabs,graphicx,xcolor}"
# Letters of a line of a column's title in LaTeX.
TITLE_WIDTH = 13

_MARKDOWN = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*_|"}, "<": "&lt;", "\n": " "})
_LATEX = {**{mark: f"\\{mark}" for mark in "&%$#_{}"}, "\\": r"\textbackslash{}", "\n": " ", "\N{NO-BREAK SPACE}": "~"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "…": r"\ldots{}"}
_LATEX |= {mark: f"${mark}$" for mark in "<>|"} | {"−": "$-$", "±": r"$\pm$", "×": r"$\times$"}
_LATEX |= {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "τ": r"$\tau$", "λ": r"$\lambda$", "μ": r"$\mu$", "σ": r"$\sigma$"}
_LATEX |= {"α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "≤": r"$\le$", "≥": r"$\ge$"}


def markdown(record: SweepRecord, made: Table) -> str:
    """A title, the question, the table, its legend, and its footnotes."""
    lines = [f"# {record.sweep} on {in_markdown(record.task)}", "", in_markdown(asked(record)), ""]
    lines += [markdown_table(made.cells), "", in_markdown(legend(record, made.cells))]
    lines += ["", *(f"- {in_markdown(note)}" for note in made.notes)] if made.notes else []
    return "\n".join(lines) + "\n"


def markdown_table(cells: pd.DataFrame) -> str:
    """The table alone."""
    escaped = cells.rename(index=in_markdown, columns=in_markdown).map(in_markdown)
    return escaped.reset_index().to_markdown(index=False, disable_numparse=True)


def latex(record: SweepRecord, made: Table) -> str:
    """A table environment as wide as the text; its first line names the packages that it needs."""
    cells = made.cells.rename_axis(None)
    styled = cells.style.set_properties(subset=list(made.greyed), color="{gray}")
    styled.format(in_latex).format_index(in_latex, axis=0).format_index(_in_lines, axis=1)
    tabular = styled.to_latex(hrules=True, column_format="l" + "r" * cells.shape[1])
    said = [asked(record), legend(record, cells), *(f"{note}." for note in made.notes)]
    lines = [
        f"% {PACKAGES}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{in_latex(' '.join(said))}}}",
        rf"\label{{tab:{record.sweep}:{record.task}}}",
        r"\smallskip",
        r"\setlength{\tabcolsep}{3pt}",
        r"\resizebox{\linewidth}{!}{%",
        f"{tabular}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _in_lines(title: str) -> str:
    """A column's title in LaTeX, broken into lines, since the numbers below it are short."""
    whole = title.replace(" ↓", "\N{NO-BREAK SPACE}↓").replace(" ↑", "\N{NO-BREAK SPACE}↑")
    lines = wrap(whole, TITLE_WIDTH, break_on_hyphens=False)
    broken = r" \\ ".join(in_latex(line) for line in lines)
    return rf"\shortstack[r]{{{broken}}}"


def html(made: Table) -> str:
    """A table element; greyed cells have the class 'grey'."""
    cells = made.cells.rename_axis(None).rename_axis("row", axis="columns")
    grey = pd.DataFrame("grey", index=cells.index, columns=list(made.greyed))
    styled = cells.style.set_td_classes(grey).set_table_attributes('class="results"')
    styled.format(escape="html").format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    written = styled.to_html(table_uuid="results", cell_ids=False)
    return written[written.index("<table") :]  # before it Styler has styles, of which there are none


def asked(record: SweepRecord) -> str:
    """The sweep's question, and what was changed for all of its rows."""
    return " ".join([record.question, *([f"All rows with {', '.join(record.overrides)}."] if record.overrides else [])])


def in_markdown(text: str) -> str:
    """The text so that Markdown shows it as it is, also inside a table."""
    return text.translate(_MARKDOWN)


def in_latex(text: str) -> str:
    """The text so that LaTeX sets it as it is."""
    return text.translate(str.maketrans(_LATEX))
