from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
import torch

from pipeline.config.schema import Config
from pipeline.hardware.gpus import joule_counter
from pipeline.hardware.memory import GB, keep_freed_memory, process_peak_gb
from pipeline.hardware.share import Share
from pipeline.hardware.timers import start_timer
from pipeline.training import cost_meter as meter
from pipeline.training.cost_meter import WARMUP_STEPS, CostMeter
from pipeline.training.loop import StepReport
from pipeline.training.state import TrainState, build_state, held_tensors

keep_freed_memory()  # as trials do

CPU = torch.device("cpu")
ALONE, PACKED = Share(1, 0.0, 1.0, 1), Share(1, 0.0, 1.0, 4)


@dataclass
class KnownTimer:
    seconds: float
    done: bool = True

    def stop(self) -> None: ...


@pytest.fixture
def state(tiny: Callable[..., Config]) -> TrainState:
    return build_state(tiny(), CPU)


def steps(seconds: Iterable[float], waiting: float = 0.5) -> Iterator[StepReport]:
    """Steps of known lengths; each makes a tensor of 10^6 bytes more than the one before, and drops it."""
    for number, took in enumerate(seconds, start=1):
        torch.ones(250_000 * number)
        yield StepReport(number, 0, {}, KnownTimer(took), KnownTimer(waiting))


def run(metering: CostMeter, state: TrainState, seconds: list[float]) -> None:
    for _ in metering.training(steps(seconds), state, len(seconds)):
        pass


COLD = [100.0] * WARMUP_STEPS
COUNTED = [77.0]  # the step in which live tensors are counted says nothing of time


def test_an_iteration_is_a_pair_of_images_behind_the_warm_up_without_the_wait_for_data(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 2, "alone")
    run(metering, state, [*COLD, *COUNTED, 4.0, 6.0, 5.0])
    costs = metering.costs(1)
    assert costs["seconds_per_iteration"] == 5 / 2
    assert costs["data_seconds_per_iteration"] == 0.5 / 2
    assert costs["seconds_per_step"] == metering.recent_seconds_per_step == 5.5
    assert costs["training_seconds"] == sum(COLD) + 77 + 15 + 0.5 * (WARMUP_STEPS + 4)


def test_few_steps_say_how_long_they_took(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    run(metering, state, [2.0, 4.0, 3.0, *COUNTED])
    assert metering.costs(1)["seconds_per_iteration"] == 3


def test_times_go_on_over_a_checkpoint_and_a_second_warm_up_does_not_count(state: TrainState) -> None:
    first = CostMeter(CPU, ALONE, 1, "alone")
    run(first, state, [*COLD, *COUNTED, 1.0, 1.0, 1.0])
    again = CostMeter(CPU, ALONE, 1, "alone", first.state_dict())
    run(again, state, [9.0] * 6)
    assert again.costs(1)["seconds_per_iteration"] == 1
    assert again.costs(1)["training_seconds"] == sum(COLD) + 77 + 3 + 54 + 0.5 * (WARMUP_STEPS + 10)


def test_times_beside_others_are_not_mixed_with_times_alone(state: TrainState) -> None:
    packed = CostMeter(CPU, PACKED, 1, "packed")
    run(packed, state, [*COLD, *COUNTED, 8.0, 8.0, 8.0])
    alone = CostMeter(CPU, ALONE, 1, "alone", packed.state_dict())
    run(alone, state, [*COLD, 2.0])
    assert alone.costs(1)["seconds_per_iteration"] == 2


def test_live_tensors_are_counted_in_the_step_behind_the_warm_up(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    run(metering, state, [1.0] * (WARMUP_STEPS + 5))
    held = sum(tensor.untyped_storage().nbytes() for tensor in {t.data_ptr(): t for t in held_tensors(state)}.values())
    assert metering.peaks["training_peak_live_gb"] == pytest.approx((held + (WARMUP_STEPS + 1) * 10**6) / GB)


def test_live_tensors_are_counted_in_the_last_of_few_steps_and_once_a_trial(state: TrainState) -> None:
    first = CostMeter(CPU, ALONE, 1, "alone")
    run(first, state, [1.0] * 3)
    again = CostMeter(CPU, ALONE, 1, "alone", first.state_dict())
    run(again, state, [1.0] * 8)
    assert 0.003 < first.peaks["training_peak_live_gb"] < 0.004
    assert again.peaks["training_peak_live_gb"] == first.peaks["training_peak_live_gb"]


LARGE, SMALL = 50_000_000, 250_000  # elements: 0.2 GB and next to nothing


def resident(elements: int) -> None:
    torch.ones(elements)


@pytest.mark.parametrize(("trained", "evaluated"), [(LARGE, SMALL), (SMALL, LARGE)])
def test_training_and_evaluation_have_peaks_of_their_own(state: TrainState, trained: int, evaluated: int) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    for _ in metering.training(steps([1.0] * (WARMUP_STEPS + 3)), state, WARMUP_STEPS + 3):
        resident(trained)
    with metering.evaluation(state, []):
        resident(evaluated)
    costs = metering.costs(1)
    more, less = ("training", "evaluation") if trained > evaluated else ("evaluation", "training")
    assert costs[f"{more}_process_peak_gb"] > costs[f"{less}_process_peak_gb"] + 0.15
    assert costs["evaluation_peak_live_gb"] > 0.2 if evaluated == LARGE else costs["evaluation_peak_live_gb"] < 0.1
    assert costs["evaluation_seconds"] > 0


def test_what_was_before_the_warm_up_is_nobodys_peak(state: TrainState) -> None:
    resident(LARGE)
    metering = CostMeter(CPU, ALONE, 1, "alone")
    with metering.evaluation(state):
        resident(SMALL)
    for number, _ in enumerate(metering.training(steps([1.0] * (WARMUP_STEPS + 3)), state, WARMUP_STEPS + 3)):
        resident(LARGE if number < WARMUP_STEPS - 1 else SMALL)
    peak = metering.costs(1)["training_process_peak_gb"]
    resident(LARGE)
    assert process_peak_gb() > peak + 0.15


@pytest.mark.parametrize("steps_taken", [3, WARMUP_STEPS])
def test_a_trial_of_few_steps_has_their_peak(state: TrainState, steps_taken: int) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    with metering.evaluation(state):
        resident(SMALL)
    for _ in metering.training(steps([1.0] * steps_taken), state, steps_taken):
        resident(LARGE)
    with metering.evaluation(state, []):
        resident(SMALL)
    costs = CostMeter(CPU, ALONE, 1, "alone", metering.state_dict()).costs(1)
    assert costs["training_process_peak_gb"] > costs["evaluation_process_peak_gb"] + 0.15
    assert not any(name.startswith(meter.COLD) for name in costs)


def test_without_a_step_no_training_was_measured(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    with metering.evaluation(state):
        resident(SMALL)
    assert not any(name.startswith("training_p") for name in metering.costs(1))
    assert "seconds_per_step" not in metering.costs(1)


def test_peaks_since_the_last_evaluation_are_kept(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    for _ in metering.training(steps([1.0] * (WARMUP_STEPS + 3)), state, WARMUP_STEPS + 3):
        resident(LARGE)
    kept = metering.state_dict()
    peak = kept["peaks"]["training_process_peak_gb"]
    assert CostMeter(CPU, ALONE, 1, "alone", kept).costs(1)["training_process_peak_gb"] == peak


def test_the_count_for_evaluations_is_of_the_first_whole_one(state: TrainState) -> None:
    metering = CostMeter(CPU, ALONE, 1, "alone")
    with metering.evaluation(state):
        torch.ones(10_000_000)
    for elements in (250_000, 10_000_000):
        with metering.evaluation(state, []):
            torch.ones(elements)
    assert 0.001 < metering.peaks["evaluation_peak_live_gb"] < 0.01


def test_a_trial_uses_its_part_of_a_machines_hours_process_by_process(state: TrainState) -> None:
    packed = CostMeter(CPU, PACKED, 1, "packed")
    run(packed, state, [3599.5] * 4)
    assert packed.costs(1)["device_hours"] == pytest.approx(1)
    alone = CostMeter(CPU, ALONE, 1, "alone", packed.state_dict())
    run(alone, state, [3599.5] * 4)
    assert alone.costs(1)["device_hours"] == pytest.approx(1 + 4)


@pytest.fixture
def joules(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a GPU's counter says."""
    used = {"joules": 5000.0}
    monkeypatch.setattr(meter, "joule_counter", lambda _: lambda: used["joules"])
    return used


def test_energy_is_that_of_training_behind_the_warm_up_by_thousand_iterations(
    state: TrainState, joules: dict[str, float]
) -> None:
    metering = CostMeter(CPU, ALONE, 2, "alone")
    with metering.evaluation(state):
        joules["joules"] += 1000
    for number, _ in enumerate(metering.training(steps([1.0] * 40), state, 40)):
        joules["joules"] += 3
        if number == 25:
            with metering.evaluation(state):
                joules["joules"] += 1000
    assert metering.costs(1)["joules_per_1000_iterations"] == pytest.approx(1000 * 3 / 2)


def test_energy_goes_on_from_a_checkpoint_however_the_process_ended(
    state: TrainState, joules: dict[str, float]
) -> None:
    killed = CostMeter(CPU, ALONE, 1, "alone")
    for number, _ in enumerate(killed.training(steps([1.0] * 100), state, 100)):
        joules["joules"] += 3
        if number == 49:
            kept = killed.state_dict()
            break
    again = CostMeter(CPU, ALONE, 1, "alone", kept)
    for _ in again.training(steps([1.0] * 50), state, 50):
        joules["joules"] += 3
    assert again.costs(1)["joules_per_1000_iterations"] == pytest.approx(3000, rel=0.02)


def test_energy_alone_is_not_told_of_what_goes_on_beside_others(state: TrainState, joules: dict[str, float]) -> None:
    alone = CostMeter(CPU, ALONE, 1, "alone")
    for _ in alone.training(steps([1.0] * 20), state, 20):
        joules["joules"] += 3
    packed = CostMeter(CPU, PACKED, 1, "packed", alone.state_dict())
    run(packed, state, [1.0] * 20)
    assert "joules_per_1000_iterations" not in packed.costs(1)


def test_no_energy_is_told_of_trials_side_by_side_or_without_steps(state: TrainState, joules: dict[str, float]) -> None:
    packed = CostMeter(CPU, PACKED, 1, "packed")
    for _ in packed.training(steps([1.0] * 20), state, 20):
        joules["joules"] += 3
    assert "joules_per_1000_iterations" not in packed.costs(1)
    over = CostMeter(CPU, ALONE, 1, "alone")
    with over.evaluation(state):
        joules["joules"] += 3
    assert "joules_per_1000_iterations" not in over.costs(1)


def test_a_counter_that_fails_in_mid_training_costs_the_energy_and_not_the_trial(
    state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[float | None] = [5000.0]
    monkeypatch.setattr(meter, "joule_counter", lambda _: lambda: readings[-1])
    metering = CostMeter(CPU, ALONE, 1, "alone")
    for number, _ in enumerate(metering.training(steps([1.0] * 40), state, 40)):
        readings.append(5000.0 + 3 * number if number < 30 else None)
        if number in (20, 35):
            with metering.evaluation(state):
                pass
        if number == 20:
            assert metering.sums["joules"] > 0
    assert metering.costs(1)["training_seconds"] == 40 + 40 * 0.5
    assert "joules_per_1000_iterations" not in metering.costs(1)
    assert metering.state_dict()["sums"]["metered_steps"] == 0


def test_a_cpu_tells_no_energy() -> None:
    assert joule_counter(CPU) is None


def test_a_timer_measures_the_time_between_start_and_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 5.5])
    monkeypatch.setattr("pipeline.hardware.timers.time.perf_counter", lambda: next(times))
    timer = start_timer(CPU)
    timer.stop()
    assert timer.seconds == 2.5
