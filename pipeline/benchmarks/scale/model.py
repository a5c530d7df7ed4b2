"""Simulate a sweep on many GPUs: one driver, one tracking store, and trials that start as GPUs become free; pure."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What a trial costs beside its training, as measured. Times are in seconds.

    driver_seconds: of the driver, for one trial after another. start_seconds: of a trial's process on its GPU.
    call_seconds: of the store for one call, one after another. run_calls: to create a trial's run. trial_calls: by a
    trial at its start and its end. calls_a_second: by a trial while it trains. most_waiting: the share of its time that
    it waits for the store at most; it calls less often then. runs_ahead: how many waiting trials get their run before
    there is room for them.
    """

    driver_seconds: float
    start_seconds: float
    call_seconds: float
    run_calls: float
    trial_calls: float
    calls_a_second: float
    most_waiting: float
    runs_ahead: int


@dataclass(frozen=True)
class Simulated:
    """How a simulated sweep went. Shares are between 0 and 1.

    idle: of the GPUs' time until the last trial ends, what is not training. calls_a_second: that the store answers.
    driver_busy, store_busy: of the same time; the store may be asked for more than it can do, up to store_asked.
    """

    seconds: float
    idle: float
    calls_a_second: float
    driver_busy: float
    store_busy: float
    store_asked: float


def simulate(lengths: Sequence[float], gpus: int, costs: Costs) -> Simulated:
    """Return how a sweep of trials of these lengths (seconds) goes, each on one GPU, in their order.

    A trial waits for each batch of values that it sends. So trials slow down together if they ask for more than the
    store can do, up to `most_waiting`. All GPUs that can be used count as training then.
    """
    asked = min(gpus, len(lengths)) * costs.calls_a_second * costs.call_seconds
    slower = min(max(1.0, asked), 1 + costs.most_waiting)
    free = [0.0] * gpus
    driver = created = 0.0
    handed_out: list[float] = []
    for number, length in enumerate(lengths):
        # The run of a trial is created while the trials before it start.
        ahead = handed_out[number - costs.runs_ahead] if number >= costs.runs_ahead else 0.0
        created = max(created, ahead) + costs.run_calls * costs.call_seconds
        driver = max(driver, created, heapq.heappop(free)) + costs.driver_seconds
        handed_out.append(driver)
        heapq.heappush(free, driver + costs.start_seconds + length * slower)
    seconds, trials, training = max(free), len(lengths), sum(lengths)
    calls = trials * (costs.run_calls + costs.trial_calls) + training * costs.calls_a_second
    if costs.call_seconds:
        calls = min(calls, seconds / costs.call_seconds)
    return Simulated(
        seconds=seconds,
        idle=1 - training / (gpus * seconds),
        calls_a_second=calls / seconds,
        driver_busy=trials * costs.driver_seconds / seconds,
        store_busy=calls * costs.call_seconds / seconds,
        store_asked=asked,
    )
