"""What a trial costs, measured while it runs: time, memory and energy; training and evaluation apart."""

import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.hardware.energy import joule_counter
from pipeline.hardware.memory import GB, LiveTensors, free_spare_memory, peaks_gb, reset_peaks, tensors_in
from pipeline.hardware.share import Share
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.loop import StepReport
from pipeline.training.state import TrainState

# The first steps of a process pay for allocations and kernel choices that later ones do not; at the paper's size the
# first of a trial have no negatives of other images either.
WARMUP_STEPS = 10
# A step that is counted is taken operation by operation. Beside the memory of a recording it would need as much again,
# so it is one of those that every recording waits for; by then gradients and the optimisers' state are there.
COUNTED_BEFORE_RECORDING = WARM_UP - 1
# How many of the latest steps say how fast a trial is now.
RECENT_STEPS = 200
# Peaks of the warm-up, which count where a trial has nothing behind it.
COLD = "warm_up"


class Meter:
    """Measures of one trial, over all processes that it has had: what checkpoints hold of it goes on here.

    Times and peaks are of what lies behind the warm-up, or, of a trial that has no such steps, of those it has. timed:
    on what, with how many threads and beside how many others; steps and joules under other conditions are forgotten.
    """

    def __init__(
        self,
        device: torch.device,
        share: Share,
        batch_size: int,
        timed: str,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.device, self.share, self.batch_size, self.timed = device, share, batch_size, timed
        kept = kept or {}
        self.peaks: dict[str, float] = dict(kept.get("peaks", {}))
        sums = ("training_seconds", "evaluation_seconds", "device_seconds", "joules", "metered_steps")
        self.sums: dict[str, float] = {name: kept.get("sums", {}).get(name, 0) for name in sums}
        # Seconds of each step, and of the wait before it.
        self._steps: list[list[float]] = []
        self._cold_steps: list[list[float]] = []
        if kept.get("timed") == timed:
            self._steps = kept["steps"].tolist()
        else:
            self.sums |= {"joules": 0, "metered_steps": 0}
        self._unread: deque[StepReport] = deque()
        self._warm = False
        # The counter is the whole GPU's, so of trials side by side none can be told its own.
        self._counter = None if share.packed else joule_counter(device)
        self._counted_from: float | None = None
        free_spare_memory(device)
        reset_peaks(device)

    def kept(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        self._settle()
        return {
            "peaks": dict(self.peaks),
            "sums": dict(self.sums),
            "timed": self.timed,
            "steps": torch.tensor(self._steps),
        }

    def training(self, reports: Iterator[StepReport], state: TrainState, steps: int) -> Iterator[StepReport]:
        """The reports of the `steps` that are left, each measured. Live tensors are counted in one step alone, since
        counting costs some Python for each operation: behind the warm-up, or ahead of the first recording."""
        counted_step = COUNTED_BEFORE_RECORDING if state.execution.cuda_graphs else WARMUP_STEPS
        for number in range(steps):
            if number == WARMUP_STEPS:
                self._settle()
                self._warm = True
                # What the allocator keeps of the warm-up is no need of the steps behind it.
                free_spare_memory(self.device)
                self._begin()
            counting = "training_peak_live_gb" not in self.peaks and number == min(counted_step, steps - 1)
            with LiveTensors(held_tensors(state)) if counting else nullcontext() as counter:
                report = next(reports)
            if counter:
                self.peaks["training_peak_live_gb"] = counter.peak_bytes / GB
                self._add("training_seconds", report.lap.seconds + report.waiting.seconds)
            else:
                self._unread.append(report)
            if self._counted_from is not None:
                self.sums["metered_steps"] += 1
            yield report

    @contextmanager
    def evaluation(self, state: TrainState, networks: Iterable[Tensor] | None = None) -> Iterator[None]:
        """The body belongs to evaluation; live tensors are counted in the first whose networks' tensors are given."""
        self._settle()
        # On both sides, so that neither is said to need what the other has left in the allocator.
        free_spare_memory(self.device)
        reset_peaks(self.device)
        counting = networks is not None and "evaluation_peak_live_gb" not in self.peaks
        started = time.perf_counter()
        with LiveTensors([*held_tensors(state), *(networks or [])]) if counting else nullcontext() as counter:
            yield
        self._add("evaluation_seconds", time.perf_counter() - started)
        if counter:
            self.peaks["evaluation_peak_live_gb"] = counter.peak_bytes / GB
        self._keep_peaks("evaluation")
        free_spare_memory(self.device)
        self._begin()

    @property
    def recent_seconds_per_step(self) -> float:
        """The median of late with the wait for data; of steps that are over, so that nobody waits for a GPU."""
        self._read_laps(all_of_them=False)
        return _median(map(sum, (self._steps or self._cold_steps)[-RECENT_STEPS:]))

    def costs(self, evaluations: int) -> dict[str, float]:
        """All that was measured, by the names of metrics. An iteration is one pair of images, as in the paper."""
        self._settle()
        steps = self._steps or self._cold_steps
        cold = {name.replace(COLD, "training"): peak for name, peak in self.peaks.items() if name.startswith(COLD)}
        costs = {
            **cold,
            **{name: peak for name, peak in self.peaks.items() if not name.startswith(COLD)},
            "training_seconds": self.sums["training_seconds"],
            "evaluation_seconds": self.sums["evaluation_seconds"],
            "seconds_per_evaluation": self.sums["evaluation_seconds"] / evaluations,
            "device_hours": self.sums["device_seconds"] / 3600,
        }
        if steps:
            costs["seconds_per_step"] = _median(map(sum, steps))
            costs["seconds_per_iteration"] = _median(step for step, _ in steps) / self.batch_size
            costs["data_seconds_per_iteration"] = _median(data for _, data in steps) / self.batch_size
        if self.sums["joules"] and self.sums["metered_steps"]:
            iterations = self.sums["metered_steps"] * self.batch_size
            costs["joules_per_1000_iterations"] = 1000 * self.sums["joules"] / iterations
        return costs

    def _begin(self) -> None:
        """Training goes on from here; behind the warm-up with counters that are its own."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        reset_peaks(self.device)
        self._counted_from = self._read_counter() if self._warm else None

    def _settle(self) -> None:
        """Take to account what training has cost up to here."""
        self._read_laps()
        if self._warm or self._cold_steps:
            self._keep_peaks("training" if self._warm else COLD)
        if self._counted_from is not None:
            now = self._read_counter()
            if now is not None:
                self.sums["joules"] += now - self._counted_from
            self._counted_from = now

    def _read_counter(self) -> float | None:
        """The joules by now; None without a counter, and from its first fault on, which drops the trial's energy."""
        now = self._counter() if self._counter else None
        if self._counter and now is None:
            self._counter = None
            self.sums |= {"joules": 0, "metered_steps": 0}
        return now

    def _read_laps(self, *, all_of_them: bool = True) -> None:
        while self._unread and (all_of_them or self._unread[0].lap.over):
            report = self._unread.popleft()
            step, data = report.lap.seconds, report.waiting.seconds
            self._add("training_seconds", step + data)
            (self._steps if self._warm else self._cold_steps).append([step, data])

    def _add(self, kind: str, seconds: float) -> None:
        part = self.share.gpus if self.device.type == "cuda" else 1 / self.share.slots
        self.sums[kind] += seconds
        self.sums["device_seconds"] += part * seconds

    def _keep_peaks(self, phase: str) -> None:
        for name, value in peaks_gb(self.device).items():
            self.peaks[f"{phase}_{name}"] = max(value, self.peaks.get(f"{phase}_{name}", 0.0))


def _median(seconds: Iterable[float]) -> float:
    return statistics.median(list(seconds) or [0.0])


def held_tensors(state: TrainState) -> list[Tensor]:
    """What stays between two steps: networks, the optimisers' state, gradients."""
    trained = [parameter for phase in state.objective.phases for parameter in state.objective.parameters_of(phase)]
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    return [*tensors_in(state.state_dict()), *gradients]
