"""Count what a step costs without running one: the real objective works on tensors that have shapes and no values."""

import hashlib
import json
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import models
from models.build import build_objective
from models.configs import CUTConfig, ModelConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.execution import REFERENCE, Execution, apply_execution
from models.negatives import PatchQueue
from models.objective import Batch, sample_step
from models.reference_step import build_reference, reference_optimizers, reference_step
from pipeline.cache import DamagedEntryError, cached, content_key
from pipeline.config.schema import Config
from pipeline.hardware import memory
from pipeline.hardware.device import resolve_device
from pipeline.hardware.memory import GB, LiveTensors
from pipeline.training import loop, state
from pipeline.training.execution import resolve_execution
from pipeline.training.loop import train_step
from pipeline.training.state import TrainState, held_tensors, make_optimizers


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


def step_cost(config: Config, cache: Path, *, plain: bool = False) -> StepCost:
    """Return the cost of a step of this trial, or of the reference code's step (`plain`).

    It is counted once for each model, shape and version of the code, and stored in the cache.
    """
    config = replace(config, model=_what_costs(config.model))
    model, shape = asdict(config.model), asdict(config.data.shape)
    counted_from = [model, shape, config.train.batch_size, plain, _code(), torch.__version__]
    counted_from.append(asdict(_execution(config, plain=plain)))

    def make(file: Path) -> None:
        file.write_text(json.dumps(asdict(count_step(config, plain=plain))), encoding="utf-8")

    return cached(cache / "costs" / f"{content_key(counted_from)}.json", make, _read_cost)


def _read_cost(file: Path) -> StepCost:
    try:
        return StepCost(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise DamagedEntryError("damaged, or written by another version") from None


def count_step(config: Config, *, plain: bool = False) -> StepCost:
    """Count a step of ours or of the reference code (`plain`).

    Memory is that of the second step, the first with gradients and optimiser state. If our steps differ, this counts
    the most expensive one: flipped, with full queues of negatives. The reference's known figures are those of an
    unflipped step.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    objective = _build(config, fake, plain=plain)
    execution = _execution(config, plain=plain)
    apply_execution(objective, execution)
    make = reference_optimizers if plain else make_optimizers
    optimizers = make(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))

    def run() -> None:
        batch = _batch(config, fake)
        draws = sample_step(objective, len(batch.a), rng_where(flipping=not plain))
        if plain:
            reference_step(objective, optimizers, batch, draws)
        else:
            train_step(objective, optimizers, batch, draws, execution)

    with FlopCounterMode(display=False) as operations:
        run()
    # Not inside the counter of operations, because that keeps tensors alive.
    with LiveTensors(held_tensors(TrainState(objective, optimizers))) as live:
        run()
    with FlopCounterMode(display=False) as translation, torch.no_grad():
        objective.translator(_batch(config, fake).a[:1])
    return StepCost(operations.get_total_flops(), live.peak_bytes / GB, translation.get_total_flops())


def _execution(config: Config, *, plain: bool) -> Execution:
    """The trial's execution without compiling or recording. Both need values."""
    if plain:
        return REFERENCE
    execution = resolve_execution(config.train, resolve_device(config.compute.device).type)
    return replace(execution, compile=False, cuda_graphs=False)


def _what_costs(model: ModelConfig) -> ModelConfig:
    """Return a model of the same cost with default numbers, so that equal costs share a cache entry.

    The cost depends on whether a weight is 0, not on its value.
    """
    weights = {"nce_weight", "cycle_weight", "identity_weight"} & asdict(model).keys()
    model = replace(model, **{name: float(getattr(model, name) > 0) for name in weights})
    if isinstance(model, CUTConfig):
        return replace(model, temperature=1.0, external=replace(model.external, momentum=0.5))
    return model


def _build(config: Config, fake: FakeTensorMode, *, plain: bool) -> CUTObjective | CycleGANObjective:
    """Build an objective whose tensors have no values, except the counters that Python reads."""
    build = build_reference if plain else build_objective
    with fake, warnings.catch_warnings():
        # Copying a module asks each of its tensors for an address, of which these have none.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        objective = build(config.model, config.data.shape, torch.Generator().manual_seed(0))
    for module in objective.modules():
        for name, found in module.named_buffers(recurse=False):
            if not found.dim():
                setattr(module, name, torch.zeros((), dtype=found.dtype))
        if isinstance(module, PatchQueue):
            module.pushed.fill_(len(module.keys_QD))
    return objective


def _batch(config: Config, fake: FakeTensorMode) -> Batch:
    shape, count = config.data.shape, config.train.batch_size
    with fake:
        return Batch(
            torch.zeros(count, shape.channels_a, shape.height, shape.width),
            torch.zeros(count, shape.channels_b, shape.height, shape.width),
        )


def rng_where(*, flipping: bool) -> torch.Generator:
    """Return a generator whose first number makes FastCUT flip, or not."""

    def flips(seed: int) -> bool:
        return bool(torch.rand((), generator=torch.Generator().manual_seed(seed)) < 0.5)

    return torch.Generator().manual_seed(next(seed for seed in range(64) if flips(seed) == flipping))


def _code() -> str:
    """Return a hash of the code that a step runs."""
    files = sorted(Path(models.__file__).parent.rglob("*.py"))
    files += [Path(str(module.__file__)) for module in (sys.modules[__name__], memory, loop, state)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
