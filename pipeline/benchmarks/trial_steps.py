"""Training steps for benchmarks, as in training but on random images."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from models.configs import CUTConfig
from models.objective import Batch
from models.reference_step import build_reference, reference_optimizers, reference_step
from pipeline.config.schema import Config, FolderConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import Dataset
from pipeline.hardware.memory import keep_freed_memory
from pipeline.rng import rng_for
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import in_model_range, prepared_steps
from pipeline.training.state import build_state

# Images of each domain. An epoch uses each once.
IMAGES = 64


def take_steps(
    config: Config, device: torch.device, threads: int, numbers: Iterable[int], *, plain: bool
) -> Iterator[None]:
    """Do the steps with these numbers, one per iteration. Each has its own batch and random numbers.

    plain: steps as the reference code does them, else as a trial does them.
    """
    take = _plain_steps if plain else partial(_own_steps, threads=threads)
    return take(config, device, numbers)


def kinds_of_steps(config: Config) -> int:
    """Return how many kinds of steps a model has: FastCUT has unflipped and flipped ones, at random."""
    return 2 if isinstance(config.model, CUTConfig) and config.model.flip_equivariance else 1


def steps_of_each_kind(config: Config, each: int) -> list[int]:
    """Return step numbers with `each` steps of each kind, the kinds in turns."""
    kinds = ([False], [True]) if kinds_of_steps(config) > 1 else ([False, True],)
    numbers = [islice(_numbers(config, flipping), each) for flipping in kinds]
    return [number for turn in zip(*numbers, strict=True) for number in turn]


def _numbers(config: Config, flipping: list[bool]) -> Iterator[int]:
    """Yield the numbers of steps in which FastCUT flips, or does not. It decides by the first draw after the batch."""
    batches = _batches(config)
    for number in count():
        rng = rng_for(config.seed, "step", number)
        batches.batch(*divmod(number, batches.steps_per_epoch), rng, decaying=False)
        if bool(torch.rand((), generator=rng) < 0.5) in flipping:
            yield number


def _batches(config: Config) -> UnpairedBatches:
    """Make batches of random 8-bit images, as large as images are before cropping."""
    data, rng = config.data, np.random.default_rng(0)
    height, width = data.load_size if isinstance(data, FolderConfig) else data.size
    images = max(IMAGES, config.train.batch_size)
    a, b = (
        rng.integers(0, 256, (images, channels, height, width), np.uint8)
        for channels in (data.channels_a, data.channels_b)
    )
    # Benchmarks do no decay phase and no evaluation.
    dataset = Dataset(train_a=a, train_b=b, decay_a=a, decay_b=b, test_a=a, test_b=b, background_a=None)
    return UnpairedBatches(dataset, data.size, config.train.batch_size, config.seed)


def _plain_steps(config: Config, device: torch.device, numbers: Iterable[int]) -> Iterator[None]:
    objective = build_reference(config.model, config.data.shape, rng_for(config.seed, "weights"))
    objective.to(device)
    optimizers = reference_optimizers(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))
    batches = _batches(config)
    for number in numbers:
        rng = rng_for(config.seed, "step", number)
        images = in_model_range(batches.batch(*divmod(number, batches.steps_per_epoch), rng, decaying=False))
        reference_step(objective, optimizers, Batch(images.a.to(device), images.b.to(device)), rng)
        yield


def _own_steps(config: Config, device: torch.device, numbers: Iterable[int], threads: int) -> Iterator[None]:
    keep_freed_memory()
    if config.train.compile:
        use_compile_cache(Path(config.paths.cache), threads)
    state = build_state(config, device)
    runner = StepRunner(state)
    endless = replace(config.train, constant_epochs=sys.maxsize)
    for prepared in prepared_steps(state, _batches(config), endless, config.seed, numbers):
        runner.run(prepared)
        yield
