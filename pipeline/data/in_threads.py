"""Work on many files at once, in threads: the decoders, the resizing and the hashes release Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many results a thread may be ahead of their use. More would only take memory.
AHEAD = 2


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Yield work(item) of each item, in order, with a bar on a terminal's stderr. Raises what `work` raises first."""
    cores = len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar, ThreadPoolExecutor(cores) as pool:
        task = bar.add_task(title, total=len(items))
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > AHEAD * cores:
                yield waiting.popleft().result()
                bar.advance(task)
        while waiting:
            yield waiting.popleft().result()
            bar.advance(task)
