"""What one trial may use of a machine."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one trial is promised: whole cores, a part of a GPU, and memory of the device (10^9 bytes) it must live in.

    slots: how many such trials the machine carries side by side.
    """

    cpus: int
    gpus: float
    memory_gb: float
    slots: int

    @property
    def packed(self) -> bool:
        """Whether others may use the device at the same time, which the time of a step depends on."""
        return self.side_by_side > 1

    @property
    def side_by_side(self) -> int:
        """How many trials may use the device at once; there may be memory for more than there are cores."""
        return min(self.slots, self.on_one_device)

    @property
    def on_one_device(self) -> int:
        """How many such trials a GPU's memory carries, or the machine where there is none."""
        return max(1, math.floor(1 / self.gpus + 1e-9)) if self.gpus else self.slots
