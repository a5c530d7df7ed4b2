"""How the steps of a trial are executed on a kind of device, what a step costs, and the cache of compiled networks.

Without torch, for plans.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import BaseFileLock

from models.configs.execution import REFERENCE, Execution
from pipeline.config.schema import Config, TrainConfig
from pipeline.errors import UserError
from pipeline.hardware.device import device_kind
from pipeline.locks import file_lock


@dataclass(frozen=True)
class StepCost:
    """The cost of one step.

    operations: floating-point operations. live_gb: the peak of live tensors (10^9 bytes), weights and optimisers
    included. translation_operations: floating-point operations of the generator for one image.
    """

    operations: int
    live_gb: float
    translation_operations: int

    @property
    def work(self) -> str:
        """A name for this cost. Trials of equal cost have the same one."""
        return f"{self.operations:.5e} operations, {self.live_gb:.4f} GB"


def resolve_execution(train: TrainConfig, device: str) -> Execution:
    """Return how steps are executed on a kind of device ('cpu', 'cuda').

    'auto' is what measured fastest there, or the reference where nothing was measured (docs/performance.md). Raises
    UserError for a setting that this machine or device cannot follow.
    """
    compiler = os.environ.get("CXX", "g++")
    if train.compile and not shutil.which(compiler):
        raise UserError(f"train.compile=true needs a C++ compiler. {compiler} was not found. Install it, or set CXX.")
    if train.cuda_graphs and device != "cuda":
        raise UserError(f"train.cuda_graphs=true needs CUDA. This trial would run on {device}. Leave it out.")
    channels_last = device == "cpu" if train.channels_last == "auto" else train.channels_last
    return Execution(train.precision, channels_last, train.recompute, train.compile, train.cuda_graphs)


def counted_execution(config: Config, *, plain: bool) -> Execution:
    """Return the trial's execution without compiling or recording, which need values; or the reference's (`plain`)."""
    if plain:
        return REFERENCE
    execution = resolve_execution(config.train, device_kind(config.compute.device))
    return replace(execution, compile=False, cuda_graphs=False)


def use_compile_cache(cache: Path, threads: int) -> BaseFileLock:
    """Let torch.compile store its results in the cache, for all trials of this machine, and compile with `threads`.

    Return a lock. Hold it while compiling: then other trials wait for the result and do not compile the same.
    """
    folder = cache / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder.resolve())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    return file_lock(folder / "compiling.lock")
