"""Training steps for benches: prepared and taken as in training, on random images."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from models.configs import CUTConfig
from models.plain import build_plain, plain_optimizers, plain_step
from pipeline.compute import keep_compiled
from pipeline.data import Dataset, UnpairedBatches
from pipeline.memory import keep_freed_memory
from pipeline.settings import Config, FolderConfig
from pipeline.trainer import rng_for, step_taker
from pipeline.trial import build_state

# Of each domain; an epoch of the bench goes through them once.
IMAGES = 64

Step = Callable[[int], object]


def prepare_steps(config: Config, device: torch.device, threads: int, *, plain: bool) -> Step:
    """Return what takes the step of a number. Each step makes a new batch and new draws, as a training does.

    plain: steps of the reference code's way, else of the trial's own way.
    """
    batches = _batches(config, device)
    take = _plain_step(config, device) if plain else _own_step(config, device, threads)

    def step(number: int) -> object:
        epoch, index = divmod(number, batches.steps_per_epoch)
        rng = rng_for(config.seed, "step", number)
        return take(batches.batch(epoch, index, rng, decaying=False), rng)

    return step


def kinds_of_steps(config: Config) -> int:
    """Return how many kinds of steps a model has: FastCUT takes unflipped and flipped ones, at random."""
    return 2 if isinstance(config.model, CUTConfig) and config.model.flip_equivariance else 1


def steps_of_each_kind(config: Config, each: int) -> list[int]:
    """Return the numbers of the first steps of a training with so many of each kind, the kinds in turns."""
    kinds = ([False], [True]) if kinds_of_steps(config) > 1 else ([False, True],)
    numbers = [islice(_numbers(config, flipping), each) for flipping in kinds]
    return [number for turn in zip(*numbers, strict=True) for number in turn]


def _numbers(config: Config, flipping: list[bool]) -> Iterator[int]:
    """The steps whose first draw behind their batch makes FastCUT flip, or not."""
    batches = _batches(config, torch.device("cpu"))
    for number in count():
        rng = rng_for(config.seed, "step", number)
        batches.batch(*divmod(number, batches.steps_per_epoch), rng, decaying=False)
        if bool(torch.rand((), generator=rng) < 0.5) in flipping:
            yield number


def _batches(config: Config, device: torch.device) -> UnpairedBatches:
    """Batches of random 8-bit images of the size that crops are taken from."""
    data, rng = config.data, np.random.default_rng(0)
    height, width = data.load_size if isinstance(data, FolderConfig) else data.size
    images = max(IMAGES, config.train.batch_size)
    a, b = (
        rng.integers(0, 256, (images, channels, height, width), np.uint8)
        for channels in (data.channels_a, data.channels_b)
    )
    # Benches train before the decay phase, and evaluate nothing.
    dataset = Dataset(train_a=a, train_b=b, decay_a=a, decay_b=b, test_a=a, test_b=b, background_a=None)
    return UnpairedBatches(dataset, data.size, config.train.batch_size, config.seed, device)


def _plain_step(config: Config, device: torch.device) -> Callable[..., object]:
    objective = build_plain(config.model, config.data.shape, rng_for(config.seed, "weights"))
    objective.to(device)
    optimizers = plain_optimizers(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))
    return partial(plain_step, objective, optimizers)


def _own_step(config: Config, device: torch.device, threads: int) -> Callable[..., object]:
    keep_freed_memory()
    if config.train.compile:
        keep_compiled(Path(config.paths.cache), threads)
    return step_taker(build_state(config, device), device)
