"""Training steps for benchmarks, as in training but on random images."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from models.configs.cut import CUTConfig
from models.objective import Batch, sample_step
from models.reference.step import build_reference, reference_optimizers, reference_step
from pipeline.config.schema import Config, FolderConfig, StripesConfig
from pipeline.config.single_image.settings import PicturesConfig, SingleConfig
from pipeline.data.batches import Batches, batches_of
from pipeline.data.dataset_cache import Dataset
from pipeline.hardware.memory import keep_freed_memory
from pipeline.rng import rng_for
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import in_model_range, prepared_steps
from pipeline.training.state import build_state

# Images of each domain. An epoch uses each once.
IMAGES = 64
# Height and width of the user's image, where there is one for each domain.
SINGLE_IMAGE = (768, 1024)


def steps_of_each_kind(config: Config, each: int) -> list[int]:
    """Return step numbers with `each` steps of each kind, the kinds in turns.

    FastCUT has unflipped and flipped steps. It decides by the first draw after the batch.
    """
    if not (isinstance(config.model, CUTConfig) and config.model.flip_equivariance):
        return list(range(each))
    batches = _batches(config)
    found: dict[bool, list[int]] = {False: [], True: []}
    for number in count():
        if min(map(len, found.values())) == each:
            break
        _, rng = _batch(config, batches, number)
        found[bool(torch.rand((), generator=rng) < 0.5)].append(number)
    return [number for turn in list(zip(*found.values(), strict=False))[:each] for number in turn]


def take_steps(
    config: Config, device: torch.device, threads: int, numbers: Iterable[int], *, plain: bool
) -> Iterator[None]:
    """Do the steps with these numbers, one per iteration. Each has its own batch and random numbers.

    plain: steps as the reference code does them, else as a trial does them.
    """
    batches, train = _batches(config), config.train
    if plain:
        objective = build_reference(config.model, config.data.shape, rng_for(config.seed, "weights")).to(device)
        optimizers = reference_optimizers(objective, train.learning_rate, (train.beta1, train.beta2))
        for number in numbers:
            batch, rng = _batch(config, batches, number)
            images = in_model_range(batch)
            randomness = sample_step(objective, len(images.a), rng)
            reference_step(objective, optimizers, Batch(images.a.to(device), images.b.to(device)), randomness)
            yield
        return
    keep_freed_memory()
    if train.compile:
        use_compile_cache(Path(config.paths.cache), threads)
    state = build_state(config, device)
    runner = StepRunner(state)
    endless = replace(train, constant_epochs=sys.maxsize)
    for prepared in prepared_steps(state, batches, endless, config.seed, numbers):
        runner.run(prepared)
        yield


def _batch(config: Config, batches: Batches, number: int) -> tuple[Batch, torch.Generator]:
    """Return the batch of a step, and the step's random numbers after it."""
    rng = rng_for(config.seed, "step", number)
    return batches.batch(*divmod(number, batches.steps_per_epoch), rng, decaying=False), rng


def _batches(config: Config) -> Batches:
    """Make batches of random images, as large as images are before cropping."""
    data, images = config.data, max(IMAGES, config.train.batch_size)
    match data:
        case FolderConfig():
            height, width = data.load_size
        case PicturesConfig():
            (height, width), images = data.image_size, 1
        case SingleConfig():
            (height, width), images = SINGLE_IMAGE, 1
        case StripesConfig():
            height, width = data.size
    a, b = ((images, channels, height, width) for channels in (data.channels_a, data.channels_b))
    dataset = random_dataset(a, b)
    return batches_of(dataset, config)


def random_dataset(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> Dataset:
    """Return a data set of random 8-bit images. Training and test images are the same: (N, C, H, W) of each domain."""
    rng = np.random.default_rng(0)
    images_a, images_b = (rng.integers(0, 256, shape, np.uint8) for shape in (a, b))
    return Dataset(images_a, images_b, images_a, images_b, images_a, images_b)
