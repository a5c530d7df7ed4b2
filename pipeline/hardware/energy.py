"""The energy that a GPU has used, by its own counter."""

from collections.abc import Callable

import torch

from pipeline.hardware.gpus import energy_reader

# Joules since the driver was loaded, of the whole GPU, whoever used it. None once a reading failed.
JouleCounter = Callable[[], float | None]


def joule_counter(device: torch.device) -> JouleCounter | None:
    """A GPU's counter of energy; None for a device without one (`pipeline.hardware.gpus.energy_reader`)."""
    read = energy_reader(device)
    return until_it_fails(read) if read else None


def until_it_fails(read: Callable[[], float | None]) -> JouleCounter:
    """Pass readings on until one fails or is below the one before, as after a reload of the driver; then give None
    forever, since differences to earlier readings mean nothing."""
    last: float | None = 0.0

    def count() -> float | None:
        nonlocal last
        if last is not None:
            now = read()
            last = None if now is None or now < last else now
        return last

    return count
