"""Stand-ins for trials that run at once and fail as work on a GPU can. They import nothing slow."""

import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

# The variable that says where the first trial leaves a file.
FIRST_OF_ALL = "FIRST_OF_ALL"


def count_and_die(
    parent: Connection,
    config: Any,
    threads: int,
    cores: frozenset[int],
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    """A trial that is killed while it counts."""
    parent.send(0.0)
    parent.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def raise_at_once(
    parent: Connection,
    config: Any,
    threads: int,
    cores: frozenset[int],
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    """The first trial cannot build its networks. The others wait for the message to count."""
    try:
        os.close(os.open(environment[FIRST_OF_ALL], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        parent.send(0.0)
        parent.recv()
    raise RuntimeError("CUDA error: device-side assert\nwith a traceback")


def exit_at_once(
    parent: Connection,
    config: Any,
    threads: int,
    cores: frozenset[int],
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    """A trial whose process ends before it has a result."""
    os._exit(3)


def show_surroundings(
    parent: Connection,
    config: Any,
    threads: int,
    cores: frozenset[int],
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    """Count as many steps a second as there are threads."""
    print("not for standard output")
    parent.send(0.0)
    parent.recv()
    parent.send(float(threads))
