from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch

from pipeline import energy, meter
from pipeline.job import Share
from pipeline.memory import GB
from pipeline.meter import WARMUP_STEPS, Meter, held_tensors
from pipeline.settings import Config
from pipeline.timing import start_lap
from pipeline.trainer import StepReport, TrainState
from pipeline.trial import build_state

CPU = torch.device("cpu")
ALONE, PACKED = Share(1, 0.0, 1.0, 1), Share(1, 0.0, 1.0, 4)


@dataclass
class KnownLap:
    seconds: float

    def stop(self) -> None: ...


@pytest.fixture
def state(tiny: Callable[..., Config]) -> TrainState:
    return build_state(tiny(), CPU)


def steps(seconds: list[float], data_seconds: float = 0.5) -> Iterator[StepReport]:
    """Steps of known lengths; each makes a tensor of 10^6 bytes more than the one before, and drops it."""
    for number, took in enumerate(seconds, start=1):
        torch.ones(250_000 * number)
        yield StepReport(number, 0, {}, KnownLap(took), data_seconds)


def run(metering: Meter, state: TrainState, seconds: list[float]) -> None:
    for _ in metering.training(steps(seconds), state, len(seconds)):
        pass


def test_an_iteration_is_a_pair_of_images_behind_the_warm_up_without_the_wait_for_data(state: TrainState) -> None:
    metering = Meter(CPU, ALONE, batch_size=2)
    run(metering, state, [100.0] * WARMUP_STEPS + [77.0] + [4.0, 6.0, 5.0])
    costs = metering.costs(1)
    assert costs["seconds_per_iteration"] == 5 / 2
    assert costs["data_seconds_per_iteration"] == 0.5 / 2
    assert costs["seconds_per_step"] == 5.5
    assert costs["training_seconds"] == 100 * WARMUP_STEPS + 77 + 15 + 0.5 * (WARMUP_STEPS + 4)


def test_live_tensors_are_counted_in_the_step_behind_the_warm_up(state: TrainState) -> None:
    metering = Meter(CPU, ALONE, 1)
    run(metering, state, [1.0] * (WARMUP_STEPS + 5))
    held = sum(tensor.untyped_storage().nbytes() for tensor in {t.data_ptr(): t for t in held_tensors(state)}.values())
    assert metering.peaks["peak_live_gb"] == pytest.approx((held + (WARMUP_STEPS + 1) * 10**6) / GB)


def test_live_tensors_are_counted_in_the_last_of_few_steps_and_once_a_trial(state: TrainState) -> None:
    first = Meter(CPU, ALONE, 1)
    run(first, state, [1.0] * 3)
    again = Meter(CPU, ALONE, 1, first.kept())
    run(again, state, [1.0] * 8)
    assert 0.003 < first.peaks["peak_live_gb"] < 0.004
    assert again.peaks["peak_live_gb"] == first.peaks["peak_live_gb"]


def test_training_and_evaluation_have_peaks_of_their_own(state: TrainState) -> None:
    metering = Meter(CPU, ALONE, 1)
    run(metering, state, [1.0] * (WARMUP_STEPS + 2))
    with metering.evaluation(state, [torch.ones(250_000)]):
        torch.ones(50_000_000)
    run(metering, state, [1.0] * (WARMUP_STEPS + 2))
    costs = metering.costs(1)
    assert costs["evaluation_peak_live_gb"] > 0.201
    assert costs["peak_live_gb"] < 0.02
    assert costs["evaluation_process_peak_gb"] > costs["process_peak_gb"] + 0.15
    assert costs["evaluation_seconds"] > 0


def test_the_count_for_evaluations_is_of_the_first_whole_one(state: TrainState) -> None:
    metering = Meter(CPU, ALONE, 1)
    with metering.evaluation(state):
        torch.ones(10_000_000)
    for elements in (250_000, 10_000_000):
        with metering.evaluation(state, []):
            torch.ones(elements)
    assert 0.001 < metering.peaks["evaluation_peak_live_gb"] < 0.01


def test_a_trial_uses_its_part_of_a_machines_hours(state: TrainState) -> None:
    hours: list[float] = []
    for share in (ALONE, PACKED):
        metering = Meter(CPU, share, 1)
        run(metering, state, [3600.0] * 4)
        hours.append(metering.costs(1)["device_hours"])
    assert hours[0] == pytest.approx(4, rel=1e-3)
    assert hours[1] == pytest.approx(hours[0] / 4)


def test_sums_go_on_from_a_checkpoint(state: TrainState) -> None:
    first = Meter(CPU, ALONE, 1)
    run(first, state, [2.0] * 3)
    again = Meter(CPU, ALONE, 1, first.kept())
    run(again, state, [4.0] * 3)
    assert again.costs(1)["training_seconds"] == 18 + 6 * 0.5
    assert again.costs(1)["seconds_per_iteration"] == 4


def test_energy_is_that_of_training_behind_the_warm_up_by_thousand_iterations(
    state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"joules": 5000.0}
    monkeypatch.setattr(meter, "joule_counter", lambda _: lambda: used["joules"])
    metering = Meter(CPU, ALONE, batch_size=2)

    def train(count: int) -> None:
        for _ in metering.training(steps([1.0] * count), state, count):
            used["joules"] += 3

    train(WARMUP_STEPS + 20)
    with metering.evaluation(state):
        used["joules"] += 1000
    train(5)
    assert metering.costs(1)["joules_per_1000_iterations"] == pytest.approx(1000 * 3 / 2)
    packed = Meter(CPU, PACKED, 1)
    run(packed, state, [1.0] * 20)
    assert "joules_per_1000_iterations" not in packed.costs(1)


def test_a_cpu_tells_no_energy() -> None:
    assert energy.joule_counter(CPU) is None


def test_a_lap_takes_what_passes_between_start_and_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 5.5])
    monkeypatch.setattr("pipeline.timing.time.perf_counter", lambda: next(times))
    lap = start_lap(CPU)
    lap.stop()
    assert lap.seconds == 2.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpus_lap_takes_what_the_gpu_takes() -> None:
    device = torch.device("cuda")
    size = torch.ones(8192, 8192, device=device)
    lap = start_lap(device)
    for _ in range(20):
        size = size @ size
    lap.stop()
    torch.cuda.synchronize()
    assert lap.seconds > 0.005


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_live_tensors_on_a_gpu_are_what_its_allocator_says(tiny: Callable[..., Config]) -> None:
    from itertools import islice

    from models.objective import Batch
    from pipeline.memory import LiveTensors
    from pipeline.trainer import rng_for, train_step

    device, config = torch.device("cuda"), tiny("model.generator.channels=64", "data.size=256")
    state = build_state(config, device)
    batch = Batch(*(torch.zeros(1, 3, 256, 256, device=device) for _ in range(2)))
    for step in islice(range(20), WARMUP_STEPS):
        train_step(state.objective, state.optimizers, batch, rng_for(0, "step", step))
    torch.cuda.reset_peak_memory_stats()
    with LiveTensors(held_tensors(state)) as counter:
        train_step(state.objective, state.optimizers, batch, rng_for(0, "step", WARMUP_STEPS))
    assert counter.peak_bytes == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.05)
