"""Child processes for benchmarks. A call that raises, or whose process dies, gives a reason instead of a result."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import TypeVar

from pipeline.errors import first_line
from pipeline.trial.process import end_with_parent

DIED = "its process was killed, as the system does when memory runs out, or it crashed"
WAITED = "another call failed, or was not ready in time"

Result = TypeVar("Result")
_barrier: Barrier  # of each child process


@dataclass(frozen=True)
class Failed:
    """The reason why there is no result, in one line."""

    reason: str


def worker_pool(count: int = 1) -> ProcessPoolExecutor:
    """Return a pool of processes. What they print goes to standard error: only JSON may go to standard output."""
    context = get_context("spawn")
    return ProcessPoolExecutor(count, context, _begin, (context.Barrier(count),))


def run_at_once(pool: ProcessPoolExecutor, calls: Sequence[Callable[[], Result]]) -> list[Result | Failed]:
    """Run each call in a process of its own. After a process has died, the pool cannot be used again."""
    return [_result(future) for future in [pool.submit(_attempt, call) for call in calls]]


def wait_for_all(seconds: float) -> None:
    """In a child: wait until every process of the pool is here. Raises if one fails or takes longer than `seconds`."""
    _barrier.wait(seconds)


def _result(future: Future[Result | Failed]) -> Result | Failed:
    try:
        return future.result()
    except BrokenProcessPool:
        return Failed(DIED)


def _begin(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    os.dup2(2, 1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _attempt(call: Callable[[], Result]) -> Result | Failed:
    # Caught here, since some errors of torch cannot be sent to another process.
    try:
        return call()
    except BrokenBarrierError:
        return Failed(WAITED)
    except Exception as error:
        _barrier.abort()
        return Failed(first_line(error))
