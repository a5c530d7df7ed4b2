"""The energy that a GPU has used, by its own counter."""

from collections.abc import Callable

import torch

from pipeline.hardware.gpus import energy_reader

# Joules of the whole GPU since the driver was loaded, by all its users. None after a failed reading.
JouleCounter = Callable[[], float | None]


def joule_counter(device: torch.device) -> JouleCounter | None:
    """Return a GPU's energy counter; None for a device without one (`pipeline.hardware.gpus.energy_reader`)."""
    read = energy_reader(device)
    return until_it_fails(read) if read else None


def until_it_fails(read: Callable[[], float | None]) -> JouleCounter:
    """Return readings until one fails or decreases, and None from then on.

    A reading decreases when the driver was reloaded. Differences to earlier readings are then meaningless.
    """
    last: float | None = 0.0

    def count() -> float | None:
        nonlocal last
        if last is not None:
            now = read()
            last = None if now is None or now < last else now
        return last

    return count
