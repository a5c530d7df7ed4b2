"""Show how far work on many items is: a bar on a terminal, else a line every some seconds. Both go to stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
# Takes how much is done, and the total if it is known.
Report = Callable[[int, int | None], object]
# Between two lines. Work that is shorter prints none.
LINE_SECONDS = 10.0


def tracked(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yield the items and show how many were used."""
    with progress(title, total) as report:
        for number, item in enumerate(items, start=1):
            yield item
            report(number, total)


@contextmanager
def progress(title: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Report]:
    """Show progress while the body runs. It calls the report with how much is done.

    Without a terminal, with TERM=dumb and in continuous integration (CI) there is no bar. NO_COLOR gives one without
    colour.
    """
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal or os.environ.get("CI"):
        yield _lines(title, in_bytes=in_bytes)
        return
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _lines(title: str, *, in_bytes: bool) -> Report:
    last = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        if (now := time.monotonic()) - last < LINE_SECONDS:
            return
        last = now
        shown, whole = (f"{done / 1e6:.1f} MB", f"{(total or 0) / 1e6:.1f} MB") if in_bytes else (done, total)
        print(f"{title}: {shown}{f' of {whole}' if total else ''}", file=sys.stderr, flush=True)

    return report
