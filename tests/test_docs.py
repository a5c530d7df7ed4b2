"""What the documents name exists."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LONGEST_LINE = 100


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def prose(document: Path) -> list[str]:
    """The lines that a person wrote and can wrap: no tables, code, pictures or generated parts."""
    generated = r"<!-- begin: just docs, (\w+) -->.*?<!-- end: just docs, \1 -->"
    text = re.sub(generated, "", read(document), flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not line.startswith(("|", "    ", "![", "<"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    files = {file.name: read(file) for file in (ROOT / "tests").rglob("*.py")}
    functions = {name for text in files.values() for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}
    for file, name in re.findall(r"\b(test_\w+\.py)|\b(test_\w+)\b(?!\.py)", read(document)):
        assert file in files or name in functions, f"{document.name} names {file or name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", read(document)):
        assert target.startswith("https://") or (document.parent / target).exists(), f"{document.name} links {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_the_code_that_a_document_names_exists(document: Path) -> None:
    for file in re.findall(r"`((?:models|pipeline|analysis|sweeps|tests|docs)/[\w./-]+)`", read(document)):
        assert document.name == "CHANGELOG.md" or (ROOT / file).exists(), f"{document.name} names {file}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_documents_are_short(document: Path) -> None:
    assert not [line for line in prose(document) if len(line) > LONGEST_LINE]


def test_the_index_lists_every_document() -> None:
    index = read(ROOT / "docs/index.md")
    for document in (ROOT / "docs").glob("*.md"):
        assert document.name == "index.md" or f"({document.name})" in index, document.name


def test_the_reproducing_page_names_its_tests() -> None:
    rows = [line for line in read(ROOT / "docs/reproducing.md").splitlines() if re.match(r"\| .*`test_", line)]
    assert len(rows) > 20


def test_changelog_citation_and_package_agree_on_the_version() -> None:
    version = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["version"]
    newest = next(line for line in read(ROOT / "CHANGELOG.md").splitlines() if re.match(r"## \d", line))
    assert newest == f"## {version}"
    assert yaml.safe_load(read(ROOT / "CITATION.cff"))["version"] == version
