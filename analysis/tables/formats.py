"""A table as Markdown, LaTeX and HTML, through pandas and its Styler; pure."""

import re
import unicodedata
from textwrap import wrap

import pandas as pd

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
# Letters that pdfLaTeX sets by itself end here (Latin, extended).
LATIN = 0x180
# Greek capitals that do not look like Latin ones.
CAPITALS = ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega")


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
    return " ".join(text.split()).translate(_MARKDOWN)


def in_latex(text: str) -> str:
    """Escape a text so that pdfLaTeX shows it literally; letters that its fonts lack become their code point."""
    return "".join(_LATEX.get(letter) or _letter_in_latex(letter) for letter in " ".join(text.split(" ")))


def _letter_in_latex(letter: str) -> str:
    if ord(letter) < LATIN:
        return letter if letter.isprintable() else " "
    name = unicodedata.name(letter, "")
    if found := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name):
        greek = "lambda" if found[2] == "LAMDA" else found[2].lower()
        if found[1] == "SMALL" and greek != "omicron":
            return rf"$\{greek}$"
        if greek in CAPITALS:
            return rf"$\{greek.capitalize()}$"
    return f"U+{ord(letter):04X}"
