"""Targets for further processes in tests. Importable, since a target is pickled by its name."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.parallel.group import GroupError, average, join_group, leave_group

CPU = torch.device("cpu")


def fail(kind: str, ready: Callable[[], None]) -> None:
    """Be ready, then end in one way."""
    ready()
    match kind:
        case "memory":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        case "user":
            raise UserError("mine.py, line 3: wrong")
        case "own":
            raise ValueError("no such thing")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise GroupError("the other one has ended")


def never_ready(ready: Callable[[], None]) -> None:
    """End before being ready."""
    raise ValueError("no such file")


def tell_and_wait(file: str, ready: Callable[[], None]) -> None:
    """Write the number of this process."""
    Path(file).write_text(str(os.getpid()))
    ready()


def exchange(folder: str, rank: int, ready: Callable[[], None] = lambda: None) -> None:
    """Exchange numbers with the other process. The second one is killed at the sixth exchange."""
    ready()
    join_group(Path(folder), rank, 2, CPU, 1)
    try:
        for number in range(100):
            if (rank, number) == (1, 5):
                os.kill(os.getpid(), signal.SIGKILL)
            average([torch.ones(3)])
    finally:
        leave_group(CPU)
