"""Items that a thread makes while earlier ones are used."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

# While one is used, one is ready and one is being made.
DEPTH = 2


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """The items in their order. An error of theirs is raised where the item would be."""
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(DEPTH))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item  # pyright: ignore[reportReturnType]
