"""The simulation of sweeps on many GPUs, against cases that can be counted by hand."""

import math
from dataclasses import replace

import pytest

from pipeline.benchmarks.scale.model import Costs, simulate

FREE = Costs(0.0, 0.0, 0.0, run_calls=0, trial_calls=0, calls_a_second=0.0, most_waiting=math.inf, runs_ahead=8)


def test_trials_that_cost_nothing_beside_training_leave_no_gpu_idle() -> None:
    went = simulate([10.0] * 12, 4, FREE)
    assert (went.seconds, went.idle, went.driver_busy, went.store_busy) == (30.0, 0.0, 0.0, 0.0)


def test_the_last_trials_leave_gpus_idle() -> None:
    assert simulate([10.0] * 5, 4, FREE).idle == pytest.approx(1 - 50 / 80)


def test_a_slow_driver_starts_one_trial_after_another() -> None:
    went = simulate([1.0] * 100, 1000, replace(FREE, driver_seconds=0.5))
    assert went.seconds == pytest.approx(100 * 0.5 + 1.0)
    assert went.driver_busy == pytest.approx(50 / 51)


def test_creating_runs_is_as_slow_as_the_store() -> None:
    went = simulate([1.0] * 100, 1000, replace(FREE, call_seconds=0.1, run_calls=5))
    assert went.seconds == pytest.approx(100 * 0.5 + 1.0)


def test_runs_are_created_while_other_trials_train() -> None:
    went = simulate([1.0] * 10, 1, replace(FREE, call_seconds=0.1, run_calls=5))
    assert went.seconds == pytest.approx(0.5 + 10.0), "only the first run is waited for"


def test_trials_that_ask_for_more_than_the_store_can_do_slow_down_together() -> None:
    costs = replace(FREE, call_seconds=0.1, calls_a_second=0.5)
    assert simulate([10.0] * 10, 10, costs).seconds == 10.0, "half of what it can do"
    went = simulate([10.0] * 100, 100, costs)
    assert went.store_asked == pytest.approx(5.0) and went.seconds == pytest.approx(50.0)
    assert went.calls_a_second == pytest.approx(10.0) and went.store_busy == pytest.approx(1.0)
    assert went.idle == pytest.approx(0.8)


def test_trials_that_call_less_often_wait_no_longer_than_they_may() -> None:
    costs = replace(FREE, call_seconds=0.1, calls_a_second=0.5, most_waiting=0.05)
    went = simulate([10.0] * 100, 100, costs)
    assert went.seconds == pytest.approx(10.5) and went.store_asked == pytest.approx(5.0)
    assert went.calls_a_second == pytest.approx(10.0) and went.store_busy == pytest.approx(1.0)


@pytest.mark.parametrize("gpus", [1, 7, 60])
def test_more_gpus_are_never_slower_while_the_store_keeps_up(gpus: int) -> None:
    costs = Costs(0.1, 2.0, 0.01, run_calls=5, trial_calls=20, calls_a_second=0.5, most_waiting=0.05, runs_ahead=8)
    lengths = [float(10 + number % 7) for number in range(200)]
    assert simulate(lengths, gpus, costs).seconds >= simulate(lengths, gpus + 1, costs).seconds
