from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.compute import Machine, device_name, resolve_device
from pipeline.config import compose_config
from pipeline.cost import StepCost, step_cost
from pipeline.forecast import ImageCounts, Work, measured_rate, predict_memory, predict_seconds, work_left
from pipeline.metrics import OPERATIONS_PER_IMAGE
from pipeline.packing import needed_gb
from pipeline.settings import Config, FolderConfig
from pipeline.tracking import TrialRecord

HERE = device_name(resolve_device("auto"))
CPU = Machine("cpu", HERE, cores=2, gpus=0, memory_gb=24.0)
GPU = Machine("cuda", "H100", cores=16, gpus=1, memory_gb=80.0)
COST = StepCost(operations=10**9, live_gb=2.0, translation_operations=10**8)
COUNTS = ImageCounts(10, 12, 5, 6)


def record(status: str = "FINISHED", device: str = HERE, threads: str = "1", **metrics: float) -> TrialRecord:
    tags = {"device_name": device, "threads": threads}
    return TrialRecord("run", status, 0, {f"cost/{name}": value for name, value in metrics.items()}, tags)


def test_memory_is_counted_until_a_trial_of_its_like_has_measured_it() -> None:
    assert predict_memory(COST, CPU, []).value == needed_gb(2.0, "cpu")
    assert predict_memory(COST, CPU, []).source == "counted"
    measured = predict_memory(COST, CPU, [record(training_process_peak_gb=2.5), record(training_process_peak_gb=2.7)])
    assert (measured.value, measured.source) == (2.7, "measured")


def test_older_trials_have_one_peak_for_all() -> None:
    assert predict_memory(COST, CPU, [record(process_peak_gb=2.6)]).value == 2.6


def test_memory_measured_on_another_device_says_nothing() -> None:
    assert predict_memory(COST, CPU, [record(device="another", training_process_peak_gb=9.0)]).source == "counted"


def test_on_a_gpu_the_allocators_peak_counts_and_the_context_beside_it() -> None:
    alike = [record(device="H100", training_peak_reserved_gb=3.0, training_process_peak_gb=9.0)]
    assert predict_memory(COST, GPU, alike).value == needed_gb(3.0, "cuda")


def test_after_running_out_twice_as_much_is_promised_up_to_the_whole_device() -> None:
    failed = record("FAILED")
    ran_out = TrialRecord("run", "FAILED", 0, {}, {**failed.tags, "out_of_memory_gb": "5"})
    assert predict_memory(COST, CPU, [ran_out]).value == 10.0
    ran_out_of_all = TrialRecord("run", "FAILED", 0, {}, {**failed.tags, "out_of_memory_gb": "24"})
    assert predict_memory(COST, CPU, [ran_out_of_all]).value == 24.0


def test_running_out_is_forgotten_once_a_trial_has_ended_with_more() -> None:
    tags = {**record().tags, "out_of_memory_gb": "2"}
    ended = TrialRecord("run", "FINISHED", 0, {"cost/process_peak_gb": 2.5}, tags)
    assert predict_memory(COST, CPU, [ended]).value == 2.5


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
    ],
)
def test_time_without_its_like_is_operations_over_the_rate_of_this_machine(
    tiny: Callable[..., Config], unlike: TrialRecord
) -> None:
    config = tiny()
    predicted = predict_seconds(config, Work(100, 3), 3e10, [unlike], threads=1)
    rate = measured_rate(config.model.generator, config.data.shape, "cpu", 1)
    assert predicted.source == "counted"
    assert predicted.value == pytest.approx(3e10 / rate)
    assert 1e7 < rate < 1e13


def test_what_is_left_is_behind_the_steps_that_are_done(tiny: Callable[..., Config]) -> None:
    config = tiny("train.constant_epochs=3", "train.decay_epochs=2", "metric.every_epochs=2")
    assert work_left(config, COUNTS) == Work(steps=5 * 12, evaluations=3)  # behind epochs 2, 4 and the last
    assert work_left(config, COUNTS, steps_done=25) == Work(steps=5 * 12 - 25, evaluations=2)
    assert work_left(config, COUNTS, steps_done=60) == Work(0, 0)


def test_what_evaluation_needs_of_memory_counts_too() -> None:
    alike = [record(device="H100", training_peak_reserved_gb=3.0, evaluation_peak_reserved_gb=4.0)]
    assert predict_memory(COST, GPU, alike).value == needed_gb(4.0, "cuda")


@pytest.mark.parametrize("task", ["horse2zebra", "cat2dog", "cityscapes", "grumpifycat"])
@pytest.mark.parametrize("model", ["cut", "fastcut", "cyclegan"])
def test_evaluation_costs_little_of_a_trial_at_the_papers_scale(task: str, model: str, costs: Path) -> None:
    config = compose_config([f"task={task}", f"model={model}"])
    assert isinstance(config.data, FolderConfig) and config.data.expected_images
    counts, cost = ImageCounts(*config.data.expected_images), step_cost(config, costs)
    work = work_left(config, counts)
    an_image = cost.translation_operations + OPERATIONS_PER_IMAGE[config.metric.extractor]
    part = work.evaluations * counts.test_a * an_image / (work.steps * cost.operations)
    assert 0 < part < 0.01
