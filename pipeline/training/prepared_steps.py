"""Steps as the host prepares them: the batch, the randomness, and for a GPU one buffer that holds both."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from models.images import to_model_range
from models.objective import Batch, Counts, check_batch
from pipeline.config.schema import TrainConfig
from pipeline.data.batches import Batches
from pipeline.hardware.transfer import Packed, pack
from pipeline.rng import rng_for
from pipeline.training.state import TrainState

Item = TypeVar("Item")

# While one step is used, one is ready and one is being made.
DEPTH = 2


@dataclass(frozen=True)
class PreparedStep:
    """What the host decides about a step.

    arguments: the batch and the randomness; for a GPU both are in one buffer. counts: how full pools and queues are
    after the step.
    """

    arguments: tuple[Batch, Any] | Packed
    counts: Counts


def prepared_steps(
    state: TrainState, batches: Batches, train: TrainConfig, seed: int, numbers: Iterable[int]
) -> Generator[PreparedStep]:
    """Yield the steps with these numbers, in order. For a GPU a thread prepares the next ones during a step."""
    steps = prepare_steps(state, batches, train, seed, numbers)
    # Preparing takes milliseconds, as a step does on a GPU. On a CPU a thread would take the step's own core.
    return prefetch(steps) if state.device.type == "cuda" else steps


def prepare_steps(
    state: TrainState, batches: Batches, train: TrainConfig, seed: int, numbers: Iterable[int]
) -> Generator[PreparedStep]:
    """Prepare the steps with these numbers. The result does not depend on how far ahead this runs."""
    counts = state.objective.counts
    for number in numbers:
        epoch, index = divmod(number, batches.steps_per_epoch)
        rng = rng_for(seed, "step", number)
        batch = batches.batch(epoch, index, rng, decaying=epoch >= train.constant_epochs)
        step = prepare_step(state, batch, rng, counts, epoch / max(1, train.epochs - 1))
        counts = step.counts
        yield step


def prefetch(items: Iterator[Item]) -> Generator[Item]:
    """Yield the items in their order; a thread makes the next ones. An error in making one is raised in its place."""
    end = object()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(DEPTH))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item  # pyright: ignore[reportReturnType]


def prepare_step(
    state: TrainState, batch: Batch, rng: torch.Generator, counts: Counts | None = None, progress: float = 0.0
) -> PreparedStep:
    """Check the batch (on the host) and draw a step over it. This does not change the state.

    What is drawn is for the whole batch. The step gets the images of this process. counts: how full pools and queues
    are before the step; the state's own if not given. progress: 0 in the first epoch, 1 in the last one. Raises
    ValueError for a batch that the model cannot train on.
    """
    size, batch = len(batch.a), Batch(state.ranks.own(batch.a), state.ranks.own(batch.b))
    if state.device.type == "cpu":
        batch = in_model_range(batch)
        check_batch(batch, state.objective.shape)
    before = state.objective.counts if counts is None else counts
    randomness, counts = state.objective.sample_randomness(size, rng, before, progress)
    if state.device.type == "cuda" or state.execution.cuda_graphs:
        return PreparedStep(pack((batch, randomness), pinned=state.device.type == "cuda"), counts)
    return PreparedStep((batch, randomness), counts)


def in_model_range(batch: Batch) -> Batch:
    """Return the batch as floats in [-1, 1]. Bits become float32."""
    return Batch(to_model_range(batch.a), to_model_range(batch.b))
