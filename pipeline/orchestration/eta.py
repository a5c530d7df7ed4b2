"""How long trials take on so many slots. Pure."""

import heapq
from collections.abc import Iterable, Sequence


def wall_seconds(running: Sequence[float], waiting: Iterable[float], slots: int) -> float:
    """The time until all are done: what runs has so many seconds left, what waits takes the next free slot in order."""
    free_at = [*running, *[0.0] * (slots - len(running))] or [0.0]
    heapq.heapify(free_at)
    for seconds in waiting:
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(free_at)
