"""Small trials for tests on a GPU, and how to make their steps give the same bits each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.training.cuda_graphs import Outcome, Recorder

# 8 steps an epoch, so that 24 steps see the rate change twice.
SMALL = (
    "task=stripes",
    "data.train_count=8",
    "data.test_count=8",
    "data.size=32",
    "model.generator.channels=8",
    "model.discriminator.channels=8",
    "train.constant_epochs=1",
    "train.decay_epochs=2",
    "train.channels_last=false",
    # Adam's step is as long as the rate even where the gradient is only rounding. A low rate keeps this small.
    "train.learning_rate=1e-5",
)
MODELS = {
    "cut": (),
    "external": ("model.negatives=[internal,external]", "model.external.warmup=255"),
    "fastcut": ("model=fastcut",),
    "cyclegan": ("model=cyclegan", "model.pool_size=4"),
}
# How many kinds of steps are frequent enough to be recorded. Flipped steps and steps with short queues are kinds.
KINDS = {"cut": 1, "external": 1, "fastcut": 2, "cyclegan": 1}


@dataclass
class CountingRecorder:
    """A recorder that counts what it records and what is replayed."""

    recorder: Recorder
    recordings: int = 0
    replays: int = 0

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        return self.recorder.warm_up(function)

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        self.recordings += 1
        outcome, replay = self.recorder.record(function)

        def counted() -> None:
            self.replays += 1
            replay()

        return outcome, counted


@contextmanager
def deterministic_kernels(*, wanted: bool = True) -> Iterator[None]:
    """Make operations give the same bits each time, if wanted. An operation that cannot raises RuntimeError.

    CUDA's gradient of reflection padding adds in any order, and has no other kernel. In the body padding is taken by
    indices, whose gradient has one.
    """
    if not wanted:
        yield
        return
    pad, forward = F.pad, nn.ReflectionPad2d.forward

    def reflecting(x: Tensor, padding: Any, mode: str = "constant", value: float | None = None) -> Tensor:
        return reflect(x, padding) if mode == "reflect" else pad(x, padding, mode, value)

    F.pad = reflecting
    nn.ReflectionPad2d.forward = lambda layer, x: reflect(x, layer.padding)  # type: ignore[method-assign]
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        F.pad, nn.ReflectionPad2d.forward = pad, forward


def reflect(x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Reflection padding (left, right, top, bottom) of images (B, C, H, W)."""
    left, right, top, bottom = padding
    return x.index_select(-2, _mirrored(x.shape[-2], top, bottom, x)).index_select(
        -1, _mirrored(x.shape[-1], left, right, x)
    )


def _mirrored(size: int, before: int, behind: int, like: Tensor) -> Tensor:
    places = torch.arange(-before, size + behind, device=like.device).abs()
    return torch.where(places < size, places, 2 * (size - 1) - places)
