"""The energy that a GPU has used, by its own counter, where NVIDIA's management library tells it."""

from collections.abc import Callable
from contextlib import suppress

import torch

# Joules since the driver was loaded, of the whole GPU, whoever used it.
JouleCounter = Callable[[], float]


def joule_counter(device: torch.device) -> JouleCounter | None:
    """A GPU's counter of energy; None for a CPU, and where the library, the driver or the GPU has none (GPUs before
    Volta, and parts of one that MIG makes)."""
    if device.type != "cuda":
        return None
    import pynvml  # which looks for the driver's library

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        # Its own numbers do not follow CUDA_VISIBLE_DEVICES; the identity does.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    return None
