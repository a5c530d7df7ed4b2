"""Count what a step costs without running one: the real objective works on tensors that have shapes and no values."""

import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils.flop_counter import FlopCounterMode

from models.build import AnyObjective, build_objective
from models.configs.own_code import OwnCode, OwnCodeError
from models.contrast.queue import PatchQueue
from models.execution import apply_execution
from models.objective import ALONE, Batch, Ranks, sample_step
from models.reference.step import build_reference, reference_optimizers, reference_step
from pipeline.config.parallel import processes_of
from pipeline.config.schema import Config
from pipeline.config.trial_key import own_code
from pipeline.errors import UserError, first_line
from pipeline.hardware.memory import GB, LiveTensors
from pipeline.training.execution import StepCost, counted_execution
from pipeline.training.loop import train_step
from pipeline.training.state import TrainState, held_tensors, make_optimizers


def count_step(config: Config, *, plain: bool = False) -> StepCost:
    """Count a step of ours or of the reference code (`plain`). Of a step in several processes, count one's part.

    Memory is that of the second step, the first with gradients and optimiser state. If our steps differ, this counts
    the most expensive one: flipped, with full queues of negatives. The reference's known figures are those of an
    unflipped step.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    objective = _build(config, fake, plain=plain)
    execution = counted_execution(config, plain=plain)
    apply_execution(objective, execution)
    make = reference_optimizers if plain else make_optimizers
    optimizers = make(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))

    size, ranks = config.train.batch_size, ALONE if plain else _first_of(processes_of(config.compute))

    def run() -> None:
        batch = _batch(config, fake, size // ranks.size)
        randomness = sample_step(objective, size, rng_where(flipping=not plain))
        with _plain_errors(own_code(config)):
            if plain:
                reference_step(objective, optimizers, batch, randomness)
            else:
                train_step(objective, optimizers, batch, randomness, execution, ranks)

    with FlopCounterMode(display=False) as operations:
        run()
    # Not inside the counter of operations, because that keeps tensors alive.
    with LiveTensors(held_tensors(TrainState(objective, optimizers))) as live:
        run()
    with FlopCounterMode(display=False) as translation, torch.no_grad():
        objective.translator(_batch(config, fake, 1).a)
    return StepCost(operations.get_total_flops(), live.peak_bytes / GB, translation.get_total_flops())


@contextmanager
def _plain_errors(code: OwnCode | None) -> Iterator[None]:
    """Raise what the user's own file does wrong as a UserError that names its line."""
    try:
        yield
    except Exception as error:
        if code is None:
            raise
        if isinstance(error, OwnCodeError):
            raise UserError(str(error)) from None
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.name]
        if not lines:
            raise
        if isinstance(error, DynamicOutputShapeException | DataDependentOutputException):
            why = "reads the values of tensors, as `if`, `item()` and masks do. Only their shapes are known here"
        else:
            why = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{code.name}, line {lines[-1]}: {why}") from None


def _build(config: Config, fake: FakeTensorMode, *, plain: bool) -> AnyObjective:
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


def _first_of(processes: int) -> Ranks:
    """Return the first of several processes. What it does in place of theirs takes the same memory."""
    if processes == 1:
        return ALONE

    def gather(part: Tensor) -> Tensor:
        return torch.cat([part.detach()] * processes)

    def average(tensors: Sequence[Tensor]) -> None:
        torch.cat([tensor.flatten() for tensor in tensors])

    return Ranks(0, processes, gather, average)


def _batch(config: Config, fake: FakeTensorMode, count: int) -> Batch:
    shape = config.data.shape
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
