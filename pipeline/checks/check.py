"""What a check says. Checks are made within a time limit, some in a child process."""

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import first_line

Status = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Check:
    """Result of one check: its name, status, what was found, and what to do ('' for nothing)."""

    check: str
    status: Status
    found: str
    mend: str = ""

    def __str__(self) -> str:
        advice = f" {self.mend}." if self.mend else ""
        return f"{self.check}: {self.found}.{advice}"


def within(seconds: float, name: str, ask: Callable[[], Check]) -> Check:
    """Return the check that `ask` makes. If it raises, or takes longer, return a fault with this name.

    A check that hangs stays in a daemon thread, which does not keep the process alive.
    """
    answers: queue.SimpleQueue[Check] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except Exception as error:  # an error in one check must not hide the others
            answers.put(Check(name, "fault", f"the check failed ({type(error).__name__}: {first_line(error)})"))

    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return Check(name, "fault", f"no answer within {seconds:g} s", "Check the disk or the network")


def run_python(*arguments: str, seconds: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run Python in a child process and keep what it prints. options: as for subprocess.run."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **options)


def last_line(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the last line that a process wrote to stderr, or else its exit code."""
    return (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1]
