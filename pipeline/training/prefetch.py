"""Items that a thread makes while earlier ones are used."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

# While one item is used, one is ready and one is being made.
DEPTH = 2


def prefetch(items: Iterator[Item]) -> Generator[Item]:
    """Yield the items in their order. An error in making an item is raised in place of that item."""
    end = object()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(DEPTH))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item  # pyright: ignore[reportReturnType]
