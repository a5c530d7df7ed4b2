"""The GPU memory of a trial: as counted, as CUDA's allocator reports it, and as the driver reports it."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_trials import MODELS

from models.objective import Batch
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config, MetricConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB
from pipeline.hardware.gpus import find_gpus, joule_counter
from pipeline.hardware.memory import GB, LiveTensors, is_out_of_memory, limit_cuda
from pipeline.hardware.timers import start_timer
from pipeline.hardware.transfer import pack, unpack
from pipeline.metrics.evaluator import Evaluator
from pipeline.rng import rng_for
from pipeline.training.cost_meter import WARMUP_STEPS
from pipeline.training.loop import StepRunner, fit
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import TrainState, build_state, held_tensors

pytestmark = pytest.mark.gpu


# The paper's sizes of image and network. At these, workspaces are a small part.
PAPER = ("task=stripes", "data.size=256", "model.generator.channels=64", "model.discriminator.channels=64")


def config_of(model: str, *overrides: str) -> Config:
    return compose_config(["train.channels_last=false", *PAPER, *MODELS[model], *overrides])


def stepping(state: TrainState, config: Config) -> Iterator[dict[str, torch.Tensor]]:
    runner = StepRunner(state)
    shape = config.data.shape
    image = torch.zeros(1, 3, shape.height, shape.width)
    for step in range(100):
        yield runner.run(prepare_step(state, Batch(image, image), rng_for(0, "step", step)))


@pytest.fixture
def emptied(cuda: torch.device) -> Iterator[torch.device]:
    torch.cuda.empty_cache()
    yield cuda
    torch.cuda.empty_cache()


@pytest.mark.parametrize("model", MODELS)
def test_counted_live_tensors_are_what_the_allocator_gave_out(model: str, emptied: torch.device) -> None:
    """Except workspaces of convolutions and products: the allocator counts them, but they are no tensors."""
    before = torch.cuda.memory_allocated()
    config = config_of(model)
    state = build_state(config, emptied)
    steps = stepping(state, config)
    for _ in islice(steps, WARMUP_STEPS):
        pass
    torch.cuda.reset_peak_memory_stats()
    with LiveTensors(held_tensors(state)) as counter:
        next(steps)
    torch.cuda.synchronize()
    allocated = torch.cuda.max_memory_allocated() - before
    print(f"{model}: counted {counter.peak_bytes / GB:.3f} GB, allocated {allocated / GB:.3f} GB")
    assert counter.peak_bytes <= 1.02 * allocated
    assert allocated <= 1.3 * counter.peak_bytes


def reserve_and_ask_the_driver() -> tuple[float, float]:
    """Return how much memory a process of CUT reserves, and how much the GPU's used memory grew (10^9 bytes)."""

    def used_gb() -> float | None:
        (gpu, *_) = find_gpus()
        return None if gpu.free_gb is None else gpu.memory_gb - gpu.free_gb

    before, config = used_gb(), config_of("cut")
    for _ in islice(stepping(build_state(config, torch.device("cuda")), config), WARMUP_STEPS):
        pass
    torch.cuda.synchronize()
    after = used_gb()
    grown = math.nan if before is None or after is None else after - before
    return torch.cuda.memory_reserved() / GB, grown


def test_a_process_takes_its_reserved_memory_and_at_most_the_allowance_beside_it(emptied: torch.device) -> None:
    """The driver counts the whole GPU, so no other process may start or end during this test."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        reserved, grown = process.submit(reserve_and_ask_the_driver).result()
    if math.isnan(grown):
        pytest.skip("NVML does not say how much memory is free")
    print(f"reserved {reserved:.3f} GB, by the driver {grown:.3f} GB")
    assert reserved <= grown <= reserved + CUDA_ALLOWANCE_GB


@pytest.mark.parametrize("model", ["cut", "fastcut", "cyclegan"])
def test_recorded_steps_reserve_little_more_than_others(model: str, emptied: torch.device) -> None:
    reserved: list[float] = []
    for graphs in ("false", "true"):
        config = config_of(model, f"train.cuda_graphs={graphs}")
        state = build_state(config, emptied)
        steps = stepping(state, config)
        for _ in islice(steps, 4 * WARMUP_STEPS):  # so that both kinds of FastCUT's step are recorded
            pass
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in islice(steps, 5):
            pass
        torch.cuda.synchronize()
        reserved.append(torch.cuda.max_memory_reserved() / GB)
        del state, steps
        torch.cuda.empty_cache()
    assert reserved[1] <= 1.5 * reserved[0]


def test_an_evaluation_holds_one_batch_of_translations_at_a_time(emptied: torch.device, tmp_path: Path) -> None:
    peaks: list[int] = []
    for count in (32, 512):
        images = np.random.default_rng(0).integers(0, 256, (count, 3, 128, 128), np.uint8)
        dataset = Dataset(images, images, images, images, images, images)
        config = MetricConfig(extractor="small-conv", batch_size=16)
        evaluator = Evaluator(dataset, config, emptied, tmp_path)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        outputs = evaluator.evaluate(lambda batch: batch).outputs
        peaks.append(torch.cuda.max_memory_allocated() - before)
        assert (outputs == images).all()
    # 480 more images take 24 MB. Their features take less than 1 MB.
    assert peaks[1] < peaks[0] + 4_000_000


def test_tensors_are_kept_to_the_limit(emptied: torch.device) -> None:
    limit_cuda(emptied, torch.cuda.memory_reserved() / GB + 1)
    try:
        held = torch.empty(int(0.5 * GB), dtype=torch.uint8, device=emptied)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(int(1.5 * GB), dtype=torch.uint8, device=emptied)
        assert is_out_of_memory(caught.value)
        del held
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
@pytest.mark.parametrize("model", MODELS)
def test_between_two_log_steps_the_host_never_waits_for_the_gpu(
    model: str, graphs: bool, small: Callable[..., Config], course: Callable[[Config], tuple], cuda: torch.device
) -> None:
    """The GPU does not wait either, since it copies from pinned memory."""
    config = small(*MODELS[model], f"train.cuda_graphs={str(graphs).lower()}")
    steps = fit(build_state(config, cuda), *course(config), config.seed)
    for _ in islice(steps, 18):  # after these every kind of step is recorded
        pass
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        with torch.profiler.record_function("the steps"):
            for _ in islice(steps, 4):
                pass
        torch.cuda.synchronize()
    events = profiler.events()
    assert events is not None
    (whole, *_) = (event for event in events if event.name == "the steps")
    within = [
        event.name
        for event in events
        if whole.time_range.start <= event.time_range.start <= whole.time_range.end and event.name != whole.name
    ]
    assert any("Memcpy HtoD (Pinned" in name for name in within), "the steps' own copies are seen"
    # The host is at most eight steps ahead (`loop.MOST_UNFINISHED`). Then it waits for the oldest one.
    waits = {"cudaStreamSynchronize", "cudaDeviceSynchronize"}
    assert not [name for name in within if name in waits or "Pageable" in name]


def test_a_gpus_timer_measures_what_the_gpu_takes(cuda: torch.device) -> None:
    product = torch.ones(8192, 8192, device=cuda)
    timer = start_timer(cuda)
    for _ in range(20):
        product = product @ product
    timer.stop()
    assert not timer.done, "the host is ahead of the GPU"
    timer.wait()
    assert timer.done and timer.seconds > 0.005


def test_a_gpus_counter_of_energy_rises(cuda: torch.device) -> None:
    counter = joule_counter(cuda)
    if counter is None:
        pytest.skip("this GPU has no counter of energy")
    before = counter()
    product = torch.rand(4096, 4096, device=cuda)
    for _ in range(200):
        product = product @ product
        product = product / product.norm()
    torch.cuda.synchronize()
    after = counter()
    assert before is not None and after is not None and after > before


def test_a_pinned_buffer_is_not_used_again_before_the_gpu_has_read_it(cuda: torch.device) -> None:
    """torch keeps a pinned block until the copies from it are done. `pipeline.hardware.transfer` relies on this."""
    busy = torch.rand(4096, 4096, device=cuda)
    arrived = []
    for number in range(50):
        busy = busy @ busy
        packed = pack((torch.full((1000,), float(number)),), pinned=True)
        arrived.append(unpack(packed.to(cuda))[0])
        del packed
    assert [float(found.mean()) for found in arrived] == list(range(50))
