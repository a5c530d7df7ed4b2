"""What a trial costs, measured while it runs: time, memory and energy; training and evaluation apart."""

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.energy import joule_counter
from pipeline.job import Share
from pipeline.memory import GB, LiveTensors, peaks_gb, reset_peaks, tensors_in
from pipeline.trainer import StepReport, TrainState

# The first steps of a process pay for allocations and kernel choices that later ones do not, and have no negatives from
# other images yet.
WARMUP_STEPS = 10


class Meter:
    """Measures of one trial. Sums and peaks are over all processes that it has had, and stand in its checkpoints; the
    times of single steps are this process's."""

    def __init__(
        self, device: torch.device, share: Share, batch_size: int, kept: Mapping[str, Any] | None = None
    ) -> None:
        self.device, self.share, self.batch_size = device, share, batch_size
        kept = kept or {}
        self.peaks: dict[str, float] = dict(kept.get("peaks", {}))
        self.training_seconds: float = kept.get("training_seconds", 0.0)
        self.evaluation_seconds: float = kept.get("evaluation_seconds", 0.0)
        self.joules: float = kept.get("joules", 0.0)
        self.metered_steps: int = kept.get("metered_steps", 0)
        self._step_seconds: list[float] = []
        self._data_seconds: list[float] = []
        self._unread: list[StepReport] = []
        # The counter is the whole GPU's, so of trials side by side none can be told its own.
        self._counter = None if share.packed else joule_counter(device)
        self._counted_from: float | None = None

    def kept(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        self._read_laps()
        names = ("peaks", "training_seconds", "evaluation_seconds", "joules", "metered_steps")
        return {name: getattr(self, name) for name in names}

    def training(self, reports: Iterator[StepReport], state: TrainState, steps: int) -> Iterator[StepReport]:
        """The reports of the `steps` that are left, each measured. Live tensors are counted in one step behind the
        warm-up alone, since counting costs some Python for each operation."""
        for number in range(steps):
            if number == WARMUP_STEPS:
                self._begin()
            counting = "peak_live_gb" not in self.peaks and number == min(WARMUP_STEPS, steps - 1)
            with LiveTensors(held_tensors(state)) if counting else nullcontext() as counter:
                report = next(reports)
            if counter:
                self.peaks["peak_live_gb"] = counter.peak_bytes / GB
                self.training_seconds += report.lap.seconds + report.data_seconds
            else:
                self._unread.append(report)
            if self._counted_from is not None:
                self.metered_steps += 1
            yield report

    @contextmanager
    def evaluation(self, state: TrainState, networks: Iterable[Tensor] | None = None) -> Iterator[None]:
        """The body belongs to evaluation; live tensors are counted in the first whose networks' tensors are given."""
        self._pause()
        counting = networks is not None and "evaluation_peak_live_gb" not in self.peaks
        started = time.perf_counter()
        with LiveTensors([*held_tensors(state), *(networks or [])]) if counting else nullcontext() as counter:
            yield
        self.evaluation_seconds += time.perf_counter() - started
        if counter:
            self.peaks["evaluation_peak_live_gb"] = counter.peak_bytes / GB
        self._keep_peaks("evaluation_")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # else training would be said to need what evaluation needs
        self._begin()

    @property
    def seconds_per_step(self) -> float:
        """The median with the wait for data, once the warm-up is over."""
        self._read_laps()
        both = zip(self._step_seconds, self._data_seconds, strict=True)
        return _median([step + data for step, data in both])

    def costs(self, evaluations: int) -> dict[str, float]:
        """All that was measured, by the names of metrics. An iteration is one pair of images, as in the paper."""
        self._pause()
        seconds = self.training_seconds + self.evaluation_seconds
        part = self.share.gpus if self.device.type == "cuda" else 1 / self.share.slots
        costs = {
            **self.peaks,
            "training_seconds": self.training_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "seconds_per_evaluation": self.evaluation_seconds / evaluations,
            "device_hours": part * seconds / 3600,
        }
        if self._step_seconds:
            costs["seconds_per_step"] = self.seconds_per_step
            costs["seconds_per_iteration"] = _median(self._step_seconds) / self.batch_size
            costs["data_seconds_per_iteration"] = _median(self._data_seconds) / self.batch_size
        if self.joules:
            costs["joules_per_1000_iterations"] = 1000 * self.joules / (self.metered_steps * self.batch_size)
        return costs

    def _begin(self) -> None:
        """Training goes on from here, with counters that are its own."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        reset_peaks(self.device)
        self._counted_from = self._counter() if self._counter else None

    def _pause(self) -> None:
        """Training ends here for now."""
        self._read_laps()
        self._keep_peaks("")
        if self._counter and self._counted_from is not None:
            self.joules += self._counter() - self._counted_from
            self._counted_from = None

    def _keep_peaks(self, prefix: str) -> None:
        for name, value in peaks_gb(self.device).items():
            self.peaks[prefix + name] = max(value, self.peaks.get(prefix + name, 0.0))

    def _read_laps(self) -> None:
        for report in self._unread:
            self._step_seconds.append(report.lap.seconds)
            self._data_seconds.append(report.data_seconds)
            self.training_seconds += report.lap.seconds + report.data_seconds
        self._unread.clear()


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds[WARMUP_STEPS:] or seconds or [0.0])


def held_tensors(state: TrainState) -> list[Tensor]:
    """What stays between two steps: networks, the optimisers' state, gradients."""
    trained = [parameter for phase in state.objective.phases for parameter in state.objective.parameters_of(phase)]
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    return [*tensors_in(state.state_dict()), *gradients]
