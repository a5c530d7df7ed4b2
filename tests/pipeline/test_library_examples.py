"""The examples of the library run: those of its document, its docstrings and its notebook."""

import doctest
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from pipeline import api

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK = DOCS / "library.ipynb"


@pytest.mark.slow
def test_the_examples_of_the_document_and_the_docstrings_are_true(project: Path) -> None:
    """The docstrings use the sweep that the document trains."""
    found = doctest.testfile(
        str(DOCS / "library.md"), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS
    )
    assert found.attempted > 20
    assert not found.failed
    found = doctest.testmod(api)
    assert found.attempted >= 4
    assert not found.failed


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, startup_timeout=600, kernel_name="python3", resources=here).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    shown = [kind for output in outputs for kind in output.get("data", ())]
    assert shown.count("text/html") == 3
    assert shown.count("image/png") == 2


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)


def test_without_the_project_the_notebook_says_what_to_install(tmp_path: Path) -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", first], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Install the project first: ")
    assert len(done.stderr.splitlines()) == 1
