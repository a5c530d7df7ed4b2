import html as htmllib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_records import NO_PAPER, PAPER, finished, make, record

from analysis.records.csv_files import read_csv
from analysis.records.schema import RecordsError, SweepRecord
from analysis.tables.columns import named_columns
from analysis.tables.formats import PACKAGES, html, latex, markdown
from analysis.tables.table import table

EXPORTS = Path(__file__).parents[3] / "docs/results/stripes"
NAMES = (
    "a_b|c",
    "<script>alert(1)</script>",
    r"C:\new & 100%",
    "#1 {x} ~y^2 $z$",
    "τ = 0.07 ± 1 ≤ 2 − 3",
    "*bold* `code`",
    "[1] foo --x",
    "η Δ Ω ≈ 1 → 2 ∞",
    "猫 é",
    'a "b" [x](y) ~~z~~ &lt;',
)


def named(*names: str) -> SweepRecord:
    return make(
        [finished(name, seed, last__fid=50.0 + seed, best__fid=40.0) for name in names for seed in range(2)]
        + [{"row": names[0], "seed": 2, "status": "FAILED", "error": r"no_room & <none> at C:\x, 100%"}],
        question="Is it 100% <right>_|?",
        task="h_2|z<",
    )


class Texts(HTMLParser):
    """The tags, and the texts between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_latex_has_the_settings_and_one_score_with_its_difference_and_named_columns() -> None:
    found = read_csv(EXPORTS / "ablation_negatives")[0]
    made = table(found, NO_PAPER)
    heads = [r"Int", r"Ext", r"n", r"FD \\ (small{-}conv), \\ last~$\downarrow$", r"$\Delta$ to internal \\ (95 \% CI)"]
    more = [r"seconds per \\ iteration~$\downarrow$"]
    for names, shown in (([], heads), (["seconds_per_iteration"], heads + more)):
        text = latex(found, made, named_columns(names, made.cells))
        assert re.findall(r"\\shortstack\[r\]\{(.*?)\}(?= [&\\])", text) == shown
        # A further column needs both columns of the paper.
        assert (r"\begin{table}[t]" in text) == (not names)
        assert text.index(r"\bottomrule") < text.index("Cells: mean")
    with pytest.raises(RecordsError, match=r"has no column 'kid'\. It has: fd_small_conv, .*best/epoch, "):
        named_columns(["kid"], made.cells)


def test_latex_leaves_settings_out_where_a_page_has_no_room_for_them() -> None:
    found = read_csv(EXPORTS / "ablation_descendants")[0]
    text = latex(found, table(found, NO_PAPER))
    heads = re.findall(r"\\shortstack\[r\]\{(.*?)\}(?= [&\\])", text)
    assert heads[0] == "n" and len(heads) == 3
    assert "Settings are left out: a page has no room for them." in text


def test_the_main_score_is_the_first_column_in_html() -> None:
    texts = [text for text in Texts(html(table(record(), NO_PAPER))).texts if text]
    assert texts[:3] == ["row", "FD (small-conv), last ↓", "Δ to a_b|c (95 % CI)"]


def test_names_show_literally_in_markdown() -> None:
    found = named(*NAMES)
    lines = markdown(found, table(found, NO_PAPER)).splitlines()
    header = next(line for line in lines if line.startswith("| row"))
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(NAMES)
    for line in rows:
        assert line.replace("\\|", "").count("|") == header.replace("\\|", "").count("|")
    text = "\n".join(rows)
    for shown in (r"a\_b\|c", "&lt;script>", r"C:\\new &amp; 100%", r"\*bold\* \`code\`", r"\~\~z\~\~ &amp;lt;"):
        assert shown in text


def test_names_show_literally_in_html() -> None:
    page = Texts(html(table(named(*NAMES), NO_PAPER)))
    assert set(NAMES) <= set(page.texts)
    assert set(page.tags) <= {"meta", "table", "thead", "tbody", "tr", "th", "td"}


def test_names_show_literally_in_latex() -> None:
    found = named(*NAMES)
    text = latex(found, table(found, NO_PAPER))
    for shown in (
        r"a\_b$|$c &",
        r"$<$script$>$alert(1)$<$/script$>$ &",
        r"C:\textbackslash{}new \& 100\% &",
        r"\#1 \{x\} \textasciitilde{}y\textasciicircum{}2 \$z\$ &",
        r"$\tau$ = 0.07 $\pm$ 1 $\le$ 2 $-$ 3 &",
        r"\caption{Is it 100\% $<$right$>$\_$|$?",
        r"no\_room \& $<$none$>$ at C:\textbackslash{}x, 100\%.",
    ):
        assert shown in text
    assert r"\toprule" in text


def test_latex_names_the_packages_that_it_needs_first() -> None:
    found = record()
    assert latex(found, table(found, PAPER)).splitlines()[0] == f"% {PACKAGES}"


def test_what_is_another_data_sets_is_grey() -> None:
    found = record()
    made = table(found, PAPER)
    assert latex(found, made, made.greyed).count(r"\color{gray}") == len(made.cells)
    assert html(made).count(' grey"') == len(made.cells)


def test_html_table_has_every_cell() -> None:
    made = table(record(), PAPER)
    texts = Texts(html(made)).texts
    for text in [*made.cells.index, *made.cells.columns, *made.cells.to_numpy().flatten()]:
        assert htmllib.unescape(text) in texts


def test_same_record_gives_the_same_bytes() -> None:
    for write in (markdown, latex):
        assert write(record(), table(record(), PAPER)) == write(record(), table(record(), PAPER))
    assert html(table(record(), PAPER)) == html(table(record(), PAPER))


@pytest.mark.slow
def test_latex_compiles(tmp_path: Path) -> None:
    if not (pdflatex := shutil.which("pdflatex")):
        pytest.skip("NO pdflatex HERE: whether the tables compile IS NOT TESTED; install texlive-latex-recommended")
    found = named(*NAMES)
    exported = [read_csv(folder)[0] for folder in sorted(EXPORTS.iterdir())]
    tables = [latex(one, table(one, NO_PAPER)) for one in (found, record(), *exported)]
    # A column of 240 pt.
    head = [r"\documentclass[twocolumn]{article}", r"\setlength{\textwidth}{490pt}", PACKAGES, r"\begin{document}"]
    source = "\n".join([*head, *tables, r"\end{document}"])
    (tmp_path / "tables.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "tables.log").read_text(encoding="latin-1")
    assert "Missing character" not in log and "Overfull" not in log
    assert (tmp_path / "tables.pdf").stat().st_size > 1000
