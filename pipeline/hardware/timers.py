"""Timers that measure work where it is done: a GPU by its own events, the host by its clock."""

import time
from collections.abc import Callable

import torch


class Timer:
    """Measures the time from its creation to `stop`. On a GPU this is the GPU's time, idle time included."""

    def __init__(self) -> None:
        self._started = self._stopped = time.perf_counter()

    def stop(self) -> None:
        """End the measurement. A GPU ends it when all work queued so far is done."""
        self._stopped = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether the measured work has ended, also on a GPU."""
        return True  # the host has done the work itself

    def wait(self) -> None:
        """Wait until the measured work has ended."""

    @property
    def seconds(self) -> float:
        """The measured time. On a GPU this waits for the end of the work, so read it late."""
        return self._stopped - self._started


class _DeviceTimer(Timer):
    # The host runs ahead of a GPU: its clock would time the queueing of a step, and synchronising would slow it.
    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._start.record(self._stream)

    def stop(self) -> None:
        self._end.record(self._stream)

    @property
    def done(self) -> bool:
        return self._end.query()

    def wait(self) -> None:
        self._end.synchronize()

    @property
    def seconds(self) -> float:
        self.wait()
        return self._start.elapsed_time(self._end) / 1000


def synchronize(device: torch.device) -> None:
    """Wait for all work that is queued on a GPU. A CPU has no queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time of a call, by the host's clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def start_timer(device: torch.device) -> Timer:
    """Start a timer for work on this device."""
    return _DeviceTimer(device) if device.type == "cuda" else Timer()
