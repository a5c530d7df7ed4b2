"""Work on many files at once, in threads: the decoders, the resizing and the hashes release Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from analysis.records.progress import tracked

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many results a thread may be ahead of their use. More would only take memory.
AHEAD = 2


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Yield work(item) of each item, in order, and show progress. Raises what `work` raises first."""
    return tracked(_in_threads(work, items), len(items), title)


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    cores = len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > AHEAD * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
