"""Ctrl-C ends a command in one line, with exit code 130, whatever it does at that moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __main__ as module
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.signals import INTERRUPTED

# Python runs this file at its start. Ctrl-C comes when the named module is imported, and its error is lost, as in some
# libraries.
AT_IMPORT = """
import os, signal, sys

class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT_IMPORT"]:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass

sys.meta_path.insert(0, CtrlC())
"""


def ctrl_c_at_import(project: Path, imported: str, *command: str, ignored: bool = False) -> tuple[int, list[str]]:
    """Return the exit code, and the lines of standard error."""
    (project / "sitecustomize.py").write_text(AT_IMPORT)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *command],
        env={**os.environ, "PYTHONPATH": f"{project}:{Path(__file__).parents[3]}", "AT_IMPORT": imported},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("imported", "command", "lines"),
    [
        ("argparse", ["status", "smoke"], ["Interrupted."]),
        ("analysis.records.printable", ["status", "smoke"], ["Interrupted."]),
        ("pipeline.cli.status", ["status", "smoke"], ["Interrupted."]),
        ("hydra", ["plan", "smoke"], ["Interrupted."]),
        ("pipeline.cli.sweep", ["sweep", "smoke"], ["Interrupted. Run the same command to resume."]),
        ("torch", ["train"], ["Loading torch.", "Interrupted. Run the same command to resume."]),
    ],
)
def test_ctrl_c_during_an_import_ends_the_command(
    project: Path, imported: str, command: list[str], lines: list[str]
) -> None:
    assert ctrl_c_at_import(project, imported, *command) == (INTERRUPTED, lines)


def test_ctrl_c_that_is_ignored_stays_ignored(project: Path) -> None:
    """As in a background job of a shell."""
    code, (line,) = ctrl_c_at_import(project, "argparse", "status", "nosuch", ignored=True)
    assert code == 2 and "nosuch" in line


@pytest.mark.parametrize("error", [AttributeError("of a library"), UserError("the records cannot be read")])
def test_what_a_library_makes_of_ctrl_c_is_still_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(module, "run", fail)
    assert main(["sweep", "smoke"], lambda: True) == INTERRUPTED
    assert capsys.readouterr().err == "Interrupted. Run the same command to resume.\n"


def test_an_error_that_is_no_users_fault_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise AttributeError("of our own")

    monkeypatch.setattr(module, "run", fail)
    with pytest.raises(AttributeError):
        main(["status", "smoke"])
