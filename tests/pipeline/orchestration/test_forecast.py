from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from models.configs.images import ImageShape
from models.configs.networks import GeneratorConfig
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config, FolderConfig, TrainConfig
from pipeline.hardware.allocation import needed_gb
from pipeline.hardware.device import Machine, device_name, resolve_device
from pipeline.hardware.memory import LiveTensors
from pipeline.hardware.timing_conditions import execution_name, timed_name
from pipeline.metrics.names import OPERATIONS_PER_IMAGE
from pipeline.orchestration import forecast
from pipeline.orchestration.forecast import (
    Work,
    predict_memory,
    predict_seconds,
    remaining_work,
)
from pipeline.tracking.store import TrialRecord
from pipeline.training import measured_rate as rates
from pipeline.training.execution import StepCost, resolve_execution
from pipeline.training.measured_rate import measured_rate
from pipeline.training.step_cost import step_cost

HERE = device_name(resolve_device("auto"))
CPU = Machine("cpu", HERE, cores=2, gpus=0, memory_gb=24.0)
GPU = Machine("cuda", "H100", cores=16, gpus=1, memory_gb=80.0)
COST = StepCost(operations=10**9, live_gb=2.0, translation_operations=10**8)
TRAIN_IMAGES = 12


# How steps are carried out by default on each kind of device.
ON_CPU, ON_GPU = (execution_name(resolve_execution(TrainConfig(), device), device) for device in ("cpu", "cuda"))


def record(
    status: str = "FINISHED",
    device: str = HERE,
    threads: str = "1",
    execution: str = ON_CPU,
    mps: str | None = None,
    **metrics: float,
) -> TrialRecord:
    tags = {"device_name": device, "threads": threads, "execution": execution, **({"mps": mps} if mps else {})}
    return TrialRecord("run", status, 0, {f"cost/{name}": value for name, value in metrics.items()}, tags)


def test_memory_is_counted_until_a_trial_of_its_like_has_measured_it() -> None:
    assert predict_memory(COST, CPU, [], ON_CPU).value == needed_gb(2.0, "cpu")
    assert predict_memory(COST, CPU, [], ON_CPU).source == "counted"
    measured = predict_memory(
        COST, CPU, [record(training_process_peak_gb=2.5), record(training_process_peak_gb=2.7)], ON_CPU
    )
    assert (measured.value, measured.source) == (2.7, "measured")


def test_older_trials_have_one_peak_for_all() -> None:
    assert predict_memory(COST, CPU, [record(process_peak_gb=2.6)], ON_CPU).value == 2.6


def test_memory_measured_on_another_device_says_nothing() -> None:
    assert (
        predict_memory(COST, CPU, [record(device="another", training_process_peak_gb=9.0)], ON_CPU).source == "counted"
    )


def test_on_a_gpu_the_allocators_peak_counts_and_the_context_beside_it() -> None:
    alike = [record(device="H100", execution=ON_GPU, training_peak_reserved_gb=3.0, training_process_peak_gb=9.0)]
    assert predict_memory(COST, GPU, alike, ON_GPU).value == needed_gb(3.0, "cuda")


def test_after_running_out_twice_as_much_is_promised_up_to_the_whole_device() -> None:
    failed = record("FAILED")
    ran_out = TrialRecord("run", "FAILED", 0, {}, {**failed.tags, "out_of_memory_gb": "5"})
    assert predict_memory(COST, CPU, [ran_out], ON_CPU).value == 10.0
    ran_out_of_all = TrialRecord("run", "FAILED", 0, {}, {**failed.tags, "out_of_memory_gb": "24"})
    assert predict_memory(COST, CPU, [ran_out_of_all], ON_CPU).value == 24.0


def test_running_out_is_forgotten_once_a_trial_has_ended_with_more() -> None:
    tags = {**record().tags, "out_of_memory_gb": "2"}
    ended = TrialRecord("run", "FINISHED", 0, {"cost/process_peak_gb": 2.5}, tags)
    assert predict_memory(COST, CPU, [ended], ON_CPU).value == 2.5


def test_time_is_that_of_trials_of_its_like(tiny: Callable[..., Config]) -> None:
    alike = [record(seconds_per_step=seconds, seconds_per_evaluation=2.0) for seconds in (0.1, 0.2, 0.9)]
    predicted = predict_seconds(tiny(), Work(100, 3), 1e12, alike, threads=1)
    assert (predicted.value, predicted.source) == (pytest.approx(100 * 0.2 + 3 * 2.0), "earlier trials")


@pytest.mark.parametrize(
    "unlike",
    [
        record(device="another", seconds_per_step=0.1, seconds_per_evaluation=1.0),
        record(threads="2", seconds_per_step=0.1, seconds_per_evaluation=1.0),
        record("KILLED", seconds_per_step=0.1, seconds_per_evaluation=1.0),
        record(seconds_per_step=0.1),
        record(execution="float32", seconds_per_step=0.1, seconds_per_evaluation=1.0),
        record(execution=f"{ON_CPU}, compiled", seconds_per_step=0.1, seconds_per_evaluation=1.0),
        record(mps="yes", seconds_per_step=0.1, seconds_per_evaluation=1.0),
    ],
)
def test_time_without_its_like_is_operations_over_the_rate_of_this_machine(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlike: TrialRecord
) -> None:
    monkeypatch.setattr(rates, "measured_rate", lambda *_: 2e9)
    predicted = predict_seconds(tiny(f"paths.cache={tmp_path}"), Work(100, 3), 3e10, [unlike], threads=1)
    assert (predicted.value, predicted.source) == (15.0, "counted")


def test_the_rate_is_measured_once(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny(f"paths.cache={tmp_path}")
    first, second = (predict_seconds(config, Work(100, 3), 3e10, [], threads=1) for _ in range(2))
    assert first == second
    assert 1e7 < 3e10 / first.value < 1e13
    assert predict_seconds(config, Work(100, 3), 3e10, [], threads=2) != first


def test_the_rate_of_a_deep_generator_on_large_images_is_measured_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "MEASURED_SECONDS", 0.0)
    peaks: list[int] = []
    for blocks, side in ((9, 256), (20, 512)):
        with LiveTensors() as live:
            measured_rate(GeneratorConfig(channels=4, blocks=blocks), ImageShape(side, side), "cpu", 1)
        peaks.append(live.peak_bytes)
    assert peaks[0] == peaks[1]


def test_what_is_left_is_behind_the_steps_that_are_done(tiny: Callable[..., Config]) -> None:
    config = tiny("train.constant_epochs=3", "train.decay_epochs=2", "metric.every_epochs=2")
    assert remaining_work(config, TRAIN_IMAGES) == Work(steps=5 * 12, evaluations=3)  # behind epochs 2, 4 and the last
    assert remaining_work(config, TRAIN_IMAGES, steps_done=25) == Work(steps=5 * 12 - 25, evaluations=2)
    assert remaining_work(config, TRAIN_IMAGES, steps_done=60) == Work(0, 0)


def test_what_evaluation_needs_of_memory_counts_too() -> None:
    alike = [record(device="H100", execution=ON_GPU, training_peak_reserved_gb=3.0, evaluation_peak_reserved_gb=4.0)]
    assert predict_memory(COST, GPU, alike, ON_GPU).value == needed_gb(4.0, "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["horse2zebra", "cat2dog", "cityscapes", "grumpifycat"])
@pytest.mark.parametrize("model", ["cut", "fastcut", "cyclegan"])
def test_evaluation_costs_little_of_a_trial_at_the_papers_scale(task: str, model: str, costs: Path) -> None:
    config = compose_config([f"task={task}", f"model={model}"])
    assert isinstance(config.data, FolderConfig) and config.data.expected_images
    (train_a, train_b, test_a, _), cost = config.data.expected_images, step_cost(config, costs)
    work = remaining_work(config, max(train_a, train_b))
    an_image = cost.translation_operations + OPERATIONS_PER_IMAGE[config.metric.extractor]
    part = work.evaluations * test_a * an_image / (work.steps * cost.operations)
    assert 0 < part < 0.01


def test_records_of_before_still_serve_a_plan_on_a_cpu(tiny: Callable[..., Config]) -> None:
    packed = "up to 2 side by side"
    timed = timed_name(HERE, 1, ON_CPU, packed, mps=False)
    tags = {"device_name": HERE, "threads": "1", "packed": packed, "timed": timed}
    costs = {"cost/seconds_per_step": 0.2, "cost/seconds_per_evaluation": 2.0, "cost/process_peak_gb": 2.6}
    before = TrialRecord("run", "FINISHED", 0, costs, tags)
    assert predict_memory(COST, CPU, [before], ON_CPU).source == "measured"
    predicted = predict_seconds(tiny(), Work(100, 3), 1e12, [before], threads=1)
    assert (predicted.value, predicted.source) == (pytest.approx(100 * 0.2 + 3 * 2.0), "earlier trials")


WAYS = {
    "default": [],
    "graphs": ["train.cuda_graphs=true"],
    "compiled": ["train.compile=true"],
    "channels last": ["train.channels_last=true"],
    "bf16": ["train.precision=bf16"],
}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast for a GPU that is not here."""
    monkeypatch.setattr(forecast, "device_kind", lambda name: "cuda")
    monkeypatch.setattr(forecast, "device_name", lambda device: "H100")


def on_the_card(way: str, mps: str, seconds: float, tiny: Callable[..., Config]) -> TrialRecord:
    execution = execution_name(resolve_execution(tiny(*WAYS[way]).train, "cuda"), "cuda")
    costs = {"seconds_per_step": seconds, "seconds_per_evaluation": 0.0, "training_peak_reserved_gb": seconds}
    return record(device="H100", execution=execution, mps=mps, **costs)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mps", [True, False])
def test_on_a_gpu_only_trials_of_the_same_execution_and_mps_say_how_long_one_takes(
    tiny: Callable[..., Config], way: str, *, mps: bool
) -> None:
    told = {(other, with_mps): 1.0 + number for number, (other, with_mps) in enumerate(product(WAYS, ("yes", "no")))}
    alike = [on_the_card(other, with_mps, seconds, tiny) for (other, with_mps), seconds in told.items()]
    config = tiny(*WAYS[way])
    predicted = predict_seconds(config, Work(1, 0), 1e12, alike, threads=1, mps=mps)
    assert (predicted.value, predicted.source) == (told[way, "yes" if mps else "no"], "earlier trials")


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("way", WAYS)
def test_on_a_gpu_only_trials_of_the_same_execution_say_how_much_memory_one_takes(
    tiny: Callable[..., Config], way: str
) -> None:
    told = {other: 3.0 + number for number, other in enumerate(WAYS)}
    alike = [on_the_card(other, "no", gb, tiny) for other, gb in told.items()]
    execution = execution_name(resolve_execution(tiny(*WAYS[way]).train, "cuda"), "cuda")
    assert predict_memory(COST, GPU, alike, execution).value == needed_gb(told[way], "cuda")
    others = [one for one in alike if one.tags["execution"] != execution]
    assert predict_memory(COST, GPU, others, execution).source == "counted"


def test_running_out_of_memory_counts_for_trials_of_the_same_execution() -> None:
    tags = {**record("FAILED", device="H100", execution=f"{ON_GPU}, as CUDA graphs").tags, "out_of_memory_gb": "20"}
    ran_out = TrialRecord("run", "FAILED", 0, {}, tags)
    assert predict_memory(COST, GPU, [ran_out], f"{ON_GPU}, as CUDA graphs").value == 40.0
    assert predict_memory(COST, GPU, [ran_out], ON_GPU).source == "counted"
