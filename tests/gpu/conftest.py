"""Tests of what must hold on a GPU. With GPU_REHEARSAL=1 those that a CPU can pass run there, to try their code."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gpu_trials import SMALL, CountingRecorder
from tape import TapeRecorder

from pipeline.config.compose import compose_config
from pipeline.config.schema import Config, TrainConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.training.cuda_graphs import CUDARecorder
from pipeline.training.execution import resolve_execution
from pipeline.training.state import TrainState, build_state

# cuBLAS reads this when it is first used; without it its sums have no fixed order.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
REHEARSAL = os.environ.get("GPU_REHEARSAL") == "1"


@pytest.fixture
def device() -> torch.device:
    """The GPU; in a rehearsal the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not REHEARSAL:
        pytest.skip("no CUDA device (GPU_REHEARSAL=1 runs this on the CPU)")
    return torch.device("cpu")


@pytest.fixture
def cuda() -> torch.device:
    """The GPU. For tests that mean nothing on a CPU."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def float32_is_float32() -> Iterator[None]:
    """Turn TF32 off, because its products have only 10 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def recorder(device: torch.device) -> Callable[[], CountingRecorder]:
    """Return a recorder that counts its steps: on CUDA the one of trials, else one that records torch's operations."""
    return lambda: CountingRecorder(CUDARecorder(device) if device.type == "cuda" else TapeRecorder())


@pytest.fixture
def small() -> Callable[..., Config]:
    return lambda *overrides: compose_config([*SMALL, *overrides])


@pytest.fixture
def state_on(device: torch.device) -> Callable[..., TrainState]:
    """Return a function that builds a trial's state on the device.

    graphs: its steps are recorded. capturable: it has the optimisers of such a state, but its steps are not recorded.
    """

    def build(config: Config, *, graphs: bool = False, capturable: bool = False) -> TrainState:
        if not (graphs or capturable):
            return build_state(config, device)
        execution = resolve_execution(config.train, device.type)
        state = build_state(config, device, replace(execution, cuda_graphs=True))
        state.execution = replace(execution, cuda_graphs=graphs)
        return state

    return build


@pytest.fixture
def course(tmp_path: Path) -> Callable[[Config], tuple[UnpairedBatches, TrainConfig]]:
    """A trial's batches and the settings of its training."""

    def find(config: Config) -> tuple[UnpairedBatches, TrainConfig]:
        dataset = open_dataset(prepare(config.data, tmp_path / "cache").folder)
        batches = UnpairedBatches(dataset, config.data.size, config.train.batch_size, config.seed)
        return batches, config.train

    return find
