import os
from collections.abc import Iterator

import pytest

from pipeline.data.in_threads import AHEAD, in_threads
from pipeline.errors import UserError


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_results_are_those_of_the_items_in_their_order(count: int) -> None:
    assert list(in_threads(lambda item: item * item, range(count), "")) == [item * item for item in range(count)]


def test_threads_are_a_little_ahead_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
    done: list[int] = []
    for used, _ in enumerate(in_threads(done.append, range(100), ""), start=1):
        assert len(done) <= used + 2 * AHEAD
    assert len(done) == 100


def fail_at(item: int) -> int:
    if item in (7, 9):
        raise UserError(f"item {item}")
    return item


def test_the_first_items_error_is_raised_and_the_rest_is_left() -> None:
    results: Iterator[int] = in_threads(fail_at, range(1000), "")
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(UserError, match="item 7"):
        next(results)
    assert list(results) == []
