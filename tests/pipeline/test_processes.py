import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.processes import start_of


def test_a_process_is_known_by_its_start_until_it_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = start_of(child.pid)
    assert started >= start_of(os.getpid()) > 0
    assert start_of(child.pid) == started
    child.communicate(b"\n")
    assert start_of(child.pid) == -1


def test_a_process_that_ends_while_it_is_looked_at_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Path) -> str:
        raise ProcessLookupError(3, "No such process")

    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    monkeypatch.setattr(Path, "read_text", gone)
    assert start_of(child.pid) == -1
