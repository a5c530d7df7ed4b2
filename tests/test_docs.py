"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def read_tests() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    tests = read_tests()
    for file, test in re.findall(r"(test_\w+\.py)(?:::(\w+))?", document.read_text(encoding="utf-8")):
        assert file in tests, f"{document.name} names {file}"
        assert f"def {test}(" in tests[file] or not test, f"{document.name} names {file}::{test}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), f"{document.name} links {target}"


def test_the_reproducing_page_names_its_tests() -> None:
    page = (ROOT / "docs/reproducing.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) > 20
