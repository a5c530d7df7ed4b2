"""Pages of made-up reports."""

import shutil
from pathlib import Path

import pytest
from page_visit import REPORTS

from analysis.report.overview import PAGE, write_overview
from analysis.report.page import page

EXPORTS = Path(__file__).parents[3] / "docs/results"


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(page(make()), encoding="utf-8")
    shutil.copytree(EXPORTS, folder / "overview")
    for sweep in (folder / "overview/stripes").iterdir():
        (sweep / PAGE).touch()
    write_overview(folder / "overview")
    return {
        **{name: (folder / f"{name}.html").as_uri() for name in REPORTS},
        "overview": (folder / "overview" / PAGE).as_uri(),
    }
