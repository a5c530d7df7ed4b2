"""What one trial may use of a machine."""

import math
from dataclasses import dataclass


def per_gpu(gpus: float) -> int:
    """Return how many trials fit on one GPU if each has this part of one. With whole GPUs it is one."""
    return max(1, math.floor(1 / gpus + 1e-9))


@dataclass(frozen=True)
class Share:
    """What one trial gets: whole cores, a part of a GPU, and its limit of the device's memory (10^9 bytes).

    slots: how many such trials the machine runs side by side.
    """

    cpus: int
    gpus: float
    memory_gb: float
    slots: int

    @property
    def packed(self) -> bool:
        """Whether other trials may use the device at the same time, which changes the time of a step."""
        return self.side_by_side > 1

    @property
    def side_by_side(self) -> int:
        """How many trials may use the device at once. There may be memory for more trials than there are cores."""
        return min(self.slots, self.on_one_device)

    @property
    def on_one_device(self) -> int:
        """How many such trials fit into a GPU's memory, or on the machine without a GPU."""
        return per_gpu(self.gpus) if self.gpus else self.slots
