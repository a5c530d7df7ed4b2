import threading
from collections.abc import Iterator

import pytest

from pipeline.training.prepared_steps import DEPTH, prefetch


def test_items_come_in_their_order() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_of_nothing_nothing_comes() -> None:
    assert list(prefetch(iter(()))) == []


def test_the_next_items_are_made_while_one_is_used_and_no_more_than_those() -> None:
    made = threading.Semaphore(0)
    count = 0

    def items() -> Iterator[int]:
        nonlocal count
        for number in range(100):
            count += 1
            made.release()
            yield number

    found = prefetch(items())
    next(found)
    for _ in range(1 + DEPTH):
        assert made.acquire(timeout=60)
    assert not made.acquire(timeout=0.2)
    assert count == 1 + DEPTH
    found.close()


def test_an_error_comes_where_its_item_would_have_been() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    found = prefetch(items())
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(found)


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    found = prefetch(iter(range(1000)))
    next(found)
    found.close()
    assert threading.active_count() == before
