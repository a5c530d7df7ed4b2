"""Pages of made-up reports."""

import pytest
from page_visit import REPORTS

from analysis.report.page import page


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(page(make()), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in REPORTS}
