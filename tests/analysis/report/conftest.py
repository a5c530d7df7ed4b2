"""A browser, and pages of made-up reports."""

from collections.abc import Iterator
from typing import Any

import pytest
from page_visit import CHROMIUM, QUIET, REPORTS

from analysis.report.page import page


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(page(make()), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in REPORTS}
