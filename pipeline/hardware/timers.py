"""How long a stretch of work takes where it is done: on a GPU by its own events, elsewhere by the host's clock."""

import time
from typing import Protocol

import torch


class Lap(Protocol):
    """A stretch that is being timed. On a GPU it is as long as the GPU needs, or stands idle, between its two ends."""

    def stop(self) -> None:
        """The stretch ends here; on a GPU, when it has done all that it was given so far."""
        ...

    @property
    def over(self) -> bool:
        """Whether its end is reached, also by a GPU."""
        ...

    def wait(self) -> None:
        """Wait for its end."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took. On a GPU this waits for its end, so it is asked for later than that."""
        ...


def start_lap(device: torch.device) -> Lap:
    """A stretch on this device that begins now."""
    return _DeviceLap(device) if device.type == "cuda" else _HostLap()


class _HostLap:
    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.seconds = 0.0
        self.over = False

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self._started
        self.over = True

    def wait(self) -> None:
        pass  # the host was there when it ended


class _DeviceLap:
    # The host runs ahead of a GPU: its clock would time the queueing of a step, and synchronising would slow it.
    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._start.record(self._stream)

    def stop(self) -> None:
        self._end.record(self._stream)

    @property
    def over(self) -> bool:
        return self._end.query()

    def wait(self) -> None:
        self._end.synchronize()

    @property
    def seconds(self) -> float:
        self.wait()
        return self._start.elapsed_time(self._end) / 1000
