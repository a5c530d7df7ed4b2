"""A table as Markdown, LaTeX and HTML, through pandas and its Styler; pure."""

import re
from html.entities import name2codepoint
from textwrap import wrap

import pandas as pd

from analysis.records.printable import printable
from analysis.records.schema import SweepRecord
from analysis.tables.caption import caption
from analysis.tables.table import Table

# Packages that the LaTeX document must load.
PACKAGES = r"\usepackage{booktabs,graphicx,xcolor}"
# Letters in a line of a column's title in LaTeX.
TITLE_WIDTH = 13

# Characters that Markdown would interpret.
_MARKDOWN = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*_|~$"}, "<": "&lt;", "&": "&amp;"})
# Characters that LaTeX would interpret, that its fonts lack, or that would join into ligatures.
_LATEX = {**{mark: f"\\{mark}" for mark in "&%$#_{}"}, **{mark: f"{{{mark}}}" for mark in "[]*-"}}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}"}
_LATEX |= {'"': r"{\ttfamily\char34}", "\N{NO-BREAK SPACE}": "~", "–": "--", "…": r"\ldots{}", "“": "``", "”": "''"}
_LATEX |= {mark: f"${mark}$" for mark in "<>|"} | {"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$"}
_LATEX |= {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$", "←": r"$\leftarrow$", "∞": r"$\infty$"}
_LATEX |= {"≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "≠": r"$\ne$", "√": r"$\surd$"}
# Greek letters that do not look like Latin ones; LaTeX and HTML call them the same.
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_LATEX |= {chr(name2codepoint[name]): rf"$\{name}$" for name in _GREEK.split()}
# Letters that pdfLaTeX sets by itself end here (Latin, extended).
LATIN = 0x180


def markdown(record: SweepRecord, made: Table) -> str:
    """Return a title, the question, the table, its caption, and its footnotes."""
    title = f"# {in_markdown(record.sweep)} on {in_markdown(record.task)}"
    texts = [in_markdown(question(record)), markdown_table(made.cells), in_markdown(caption(record, made.cells))]
    notes = ["\n".join(f"- {in_markdown(note)}" for note in made.notes)] if made.notes else []
    return "\n\n".join([title, *texts, *notes]) + "\n"


def markdown_table(cells: pd.DataFrame) -> str:
    """Return only the table."""
    escaped = cells.rename(index=in_markdown, columns=in_markdown).map(in_markdown)
    return escaped.reset_index().to_markdown(index=False, disable_numparse=True)


def latex(record: SweepRecord, made: Table) -> str:
    """Return a table environment of the text's width. The first line is a comment with the packages it needs."""
    cells = made.cells.rename_axis(None)
    styled = cells.style.set_properties(subset=list(made.greyed), color="{gray}")
    styled.format(in_latex).format_index(in_latex, axis=0).format_index(_in_lines, axis=1)
    tabular = styled.to_latex(hrules=True, column_format="l" + "r" * cells.shape[1])
    texts = [question(record), caption(record, cells), *(f"{note}." for note in made.notes)]
    task = re.sub(r"[^A-Za-z0-9.:-]", "-", record.task)
    lines = [
        f"% {PACKAGES}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{in_latex(' '.join(texts))}}}",
        rf"\label{{tab:{record.sweep}:{task}}}",
        r"\smallskip",
        r"\setlength{\tabcolsep}{3pt}",
        r"\resizebox{\linewidth}{!}{%",
        f"{tabular}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _in_lines(title: str) -> str:
    """Return a column's title in LaTeX, broken into lines, since the numbers below it are short."""
    whole = title.replace(" ↓", "\N{NO-BREAK SPACE}↓").replace(" ↑", "\N{NO-BREAK SPACE}↑")
    lines = wrap(whole, TITLE_WIDTH, break_on_hyphens=False)
    broken = r" \\ ".join(in_latex(line) for line in lines)
    return rf"\shortstack[r]{{{broken}}}"


def html(made: Table) -> str:
    """Return a table element; grey cells have the class 'grey'."""
    cells = made.cells.rename_axis(None).rename_axis("row", axis="columns")
    grey = pd.DataFrame("grey", index=cells.index, columns=list(made.greyed))
    styled = cells.style.set_td_classes(grey).set_table_attributes('class="results"')
    styled.format(escape="html").format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    written = styled.to_html(table_uuid="results", cell_ids=False)
    # Without Styler's empty style element, and with the file's encoding.
    return f'<meta charset="utf-8">\n{written[written.index("<table") :]}'


def question(record: SweepRecord) -> str:
    """Return the sweep's question and the overrides of all rows."""
    return f"{record.question} All rows use {', '.join(record.overrides)}." if record.overrides else record.question


def in_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it literally, also in a table."""
    return printable(" ".join(text.split())).translate(_MARKDOWN)


def in_latex(text: str) -> str:
    """Escape a text so that pdfLaTeX shows it literally; letters that its fonts lack become their code point."""
    escaped = ""
    for letter in text:
        known = (letter if letter.isprintable() else " ") if ord(letter) < LATIN else f"U+{ord(letter):04X}"
        escaped += _LATEX.get(letter, known)
    return escaped
