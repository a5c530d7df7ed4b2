"""Stand-ins for trials that run at once and fail as work on a GPU can. They import nothing slow."""

import os
import signal
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.benchmarks.process import wait_for_all

# The variable that says where the first trial leaves a file.
FIRST_OF_ALL = "FIRST_OF_ALL"


def count_and_die(
    config: Any, threads: int, cores: Collection[int], environment: Mapping[str, str], seconds: float
) -> float:
    """A trial that is killed while it counts."""
    wait_for_all(60.0)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def raise_at_once(
    config: Any, threads: int, cores: Collection[int], environment: Mapping[str, str], seconds: float
) -> float:
    """The first trial cannot build its networks. The others wait for it."""
    try:
        os.close(os.open(environment[FIRST_OF_ALL], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        wait_for_all(60.0)
    raise RuntimeError("CUDA error: device-side assert\nwith a traceback")


def exit_at_once(
    config: Any, threads: int, cores: Collection[int], environment: Mapping[str, str], seconds: float
) -> float:
    """A trial whose process ends before it has a result."""
    os._exit(3)


def show_surroundings(
    config: Any, threads: int, cores: Collection[int], environment: Mapping[str, str], seconds: float
) -> float:
    """Count as many steps a second as there are threads."""
    print("not for standard output")
    wait_for_all(60.0)
    return float(threads)
