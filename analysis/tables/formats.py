"""A table as Markdown, LaTeX and HTML, through pandas and its Styler; pure."""

import re
from collections.abc import Sequence
from html.entities import name2codepoint
from textwrap import wrap

import pandas as pd

from analysis.records.printable import printable
from analysis.records.schema import SweepRecord
from analysis.tables.caption import caption
from analysis.tables.table import Table

# Packages that the LaTeX document must load.
PACKAGES = r"\usepackage{booktabs,tabularx,xcolor}"
# The column of the rows' names, which take the room that is left.
NAMES = r">{\raggedright\arraybackslash}X"
TABULAR_END = "\\end{tabular}\n"
# Letters in a line of a column's title in LaTeX.
TITLE_WIDTH = 13
# Letters of 8 pt: in a column of a two-column paper (240 pt), and in both.
COLUMN_LETTERS, PAGE_LETTERS = 58, 118
# Between two columns of a table, and for the rows' names.
BETWEEN_LETTERS, NAME_LETTERS = 1, 12

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


def latex(record: SweepRecord, made: Table, columns: Sequence[str] = ()) -> str:
    """Return a table environment in 8 pt for a two-column paper, as wide as a column, or as both if it needs the room.

    It has the settings, unless a page has no room for them, n, and the main score with its difference; notes are below.
    columns: titles of further columns. The first line is a comment with the packages it needs.
    """
    further = [title for title in made.cells if title in columns and title not in made.main]
    results = ["n", *made.main, *further]
    cells = made.cells.reindex(columns=[*made.settings, *results]).rename_axis(None)
    notes = [*made.notes]
    if _letters(cells) > PAGE_LETTERS and made.settings:
        cells = cells.reindex(columns=results)
        notes.append("Settings are left out: a page has no room for them")
    styled = cells.style.set_properties(subset=[title for title in made.greyed if title in cells], color="{gray}")
    styled.format(_cell_in_lines).format_index(in_latex, axis=0).format_index(_title_in_lines, axis=1)
    tabular = styled.to_latex(hrules=True, column_format=f"@{{}}{NAMES}{'r' * cells.shape[1]}@{{}}")
    tabular = tabular.replace(r"\begin{tabular}", r"\begin{tabularx}{\linewidth}", 1)
    texts = [caption(record, cells), *(f"{note}." for note in notes)]
    task = re.sub(r"[^A-Za-z0-9.:-]", "-", record.task)
    table = "table*" if _letters(cells) > COLUMN_LETTERS else "table"
    lines = [
        f"% {PACKAGES}",
        rf"\begin{{{table}}}[t]",
        rf"\caption{{{in_latex(question(record))}}}",
        rf"\label{{tab:{record.sweep}:{task}}}",
        r"\smallskip",
        r"\fontsize{8}{9.5}\selectfont",
        r"\setlength{\tabcolsep}{3pt}",
        f"{tabular.removesuffix(TABULAR_END)}{TABULAR_END.replace('tabular', 'tabularx')}\\par",
        r"\smallskip",
        rf"\noindent {in_latex(' '.join(texts))}",
        rf"\end{{{table}}}",
    ]
    return "\n".join(lines) + "\n"


def _letters(cells: pd.DataFrame) -> int:
    """Return how many letters wide a table is in LaTeX, with the spaces between columns and the names of rows."""
    widths = [
        max(len(line) for text in (title, *cells[title]) for line in _lines(text)) + BETWEEN_LETTERS for title in cells
    ]
    # Names are broken between words only.
    return sum(widths) + max([NAME_LETTERS, *(len(word) for row in cells.index for word in row.split())])


def _lines(text: str) -> list[str]:
    """Break a text into the lines that it has in LaTeX. A difference has its interval in a line of its own."""
    difference, _, interval = text.partition(" (")
    if interval and difference.startswith(("+", "−")):
        interval, _, star = interval.partition(")")
        return [f"{difference}{star}", f"({interval})"]
    whole = re.sub(" (?=[↓↑±])|(?<=±) ", "\N{NO-BREAK SPACE}", text)
    return wrap(whole, TITLE_WIDTH, break_on_hyphens=False) or [""]


def _title_in_lines(title: str) -> str:
    """Return a column's title in LaTeX, broken into lines, since the numbers below it are short."""
    return rf"\shortstack[r]{{{_joined(title)}}}"


def _cell_in_lines(text: str) -> str:
    """Return a cell in LaTeX; the first of several lines stands beside the row's name."""
    joined = _joined(text)
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{joined}\end{{tabular}}" if r"\\" in joined else joined


def _joined(text: str) -> str:
    return r" \\ ".join(in_latex(line) for line in _lines(text))


def html(made: Table) -> str:
    """Return a table element; grey cells have the class 'grey'. The main score comes first: phones show few columns."""
    cells = made.cells.reindex(columns=[*made.main, *(title for title in made.cells if title not in made.main)])
    cells = cells.rename_axis(None).rename_axis("row", axis="columns")
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
