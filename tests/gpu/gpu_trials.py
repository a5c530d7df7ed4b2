"""The small trials that laws of GPUs are shown on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
    # Adam's steps are as long as the rate, also where a gradient is rounding alone. A low one keeps roundings small.
    "train.learning_rate=1e-5",
)
MODELS = {
    "cut": (),
    "external": ("model.negatives=[internal,external]", "model.external.warmup=255"),
    "fastcut": ("model=fastcut",),
    "cyclegan": ("model=cyclegan", "model.pool_size=4"),
}


@contextmanager
def deterministic_kernels(*, wanted: bool) -> Iterator[None]:
    """Where they are wanted, operations give the same bits each time, and one that cannot raises RuntimeError."""
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
