"""What one trial may use of a machine."""

import math
from dataclasses import dataclass


def per_gpu(gpus: float) -> int:
    """Return how many trials fit on one GPU if each has this part of one. With whole GPUs it is one."""
    return max(1, math.floor(1 / gpus + 1e-9))


def threads_of(cpus: int, processes: int) -> int:
    """Return the threads of each of a trial's processes, which share its cores."""
    return max(1, cpus // processes)


@dataclass(frozen=True)
class Share:
    """What one trial gets: whole cores, a part of a GPU or whole ones, and a limit of memory (10^9 bytes).

    memory_gb: of the device, for each of the trial's processes. slots: how many such trials the machine runs side by
    side. processes: how many train the trial together, each on its own GPU, if there are any.
    """

    cpus: int
    gpus: float
    memory_gb: float
    slots: int
    processes: int = 1

    @property
    def threads(self) -> int:
        """The threads of each process."""
        return threads_of(self.cpus, self.processes)

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
