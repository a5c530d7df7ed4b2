"""What a trial costs, measured while it runs: time, memory and energy, separately for training and evaluation."""

import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.hardware.gpus import joule_counter
from pipeline.hardware.memory import GB, LiveTensors, free_spare_memory, peaks_gb, reset_peaks
from pipeline.hardware.share import Share
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.loop import StepReport
from pipeline.training.state import TrainState, held_tensors

# The first steps of a process include allocations and the choice of kernels. At the paper's size the first steps of a
# trial have no negatives of other images either.
WARMUP_STEPS = 10
# A counted step runs operation by operation. Beside the memory of a recording it would need as much again, so it is
# one of the steps before every recording; by then gradients and the optimisers' state exist.
COUNTED_BEFORE_RECORDING = WARM_UP - 1
# The speed that a running trial shows is the median over so many of its latest steps.
RECENT_STEPS = 200
# Prefix of the warm-up's peaks. They count as training's if the trial has no later step.
COLD = "warm_up"


class CostMeter:
    """Measures one trial over all its processes: it continues from the state in the checkpoint.

    Times and peaks are those of the steps after the warm-up, or of the warm-up if there are no others. timed_on: the
    device, the number of threads and of neighbours; if it changes, earlier steps and joules are dropped.
    """

    def __init__(
        self,
        device: torch.device,
        share: Share,
        batch_size: int,
        timed_on: str,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.device, self.share, self.batch_size, self.timed_on = device, share, batch_size, timed_on
        saved = saved or {}
        self.peaks: dict[str, float] = dict(saved.get("peaks", {}))
        names = ("training_seconds", "evaluation_seconds", "joules", "metered_steps")
        sums = saved.get("sums", {})
        self.sums: dict[str, float] = {name: sums.get(name, 0) for name in names}
        # The first checkpoints had no device seconds. The trial's share is taken to have been the same.
        seconds = self.sums["training_seconds"] + self.sums["evaluation_seconds"]
        self.sums["device_seconds"] = sums.get("device_seconds", self._part * seconds)
        # Seconds of each step, and of the wait for its batch.
        self._steps: list[list[float]] = []
        self._cold_steps: list[list[float]] = []
        if saved.get("timed") == timed_on:
            self._steps = saved["steps"].tolist()
        else:
            self._drop_energy()
        self._unread: deque[StepReport] = deque()
        self._warm = False
        # The counter is that of one whole GPU. Trials that share it, or that use several, cannot have their own.
        self._counter = None if share.packed or share.processes > 1 else joule_counter(device)
        self._counted_from: float | None = None
        free_spare_memory(device)
        reset_peaks(device)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        self._settle()
        return {
            "peaks": dict(self.peaks),
            "sums": dict(self.sums),
            "timed": self.timed_on,
            "steps": torch.tensor(self._steps),
        }

    def training(self, reports: Iterator[StepReport], state: TrainState, steps: int) -> Iterator[StepReport]:
        """Measure the `steps` that are left, and yield their reports.

        Live tensors are counted in only one step, because counting costs some Python for each operation: the first
        after the warm-up, or one before the first recording.
        """
        counted_step = COUNTED_BEFORE_RECORDING if state.execution.cuda_graphs else WARMUP_STEPS
        for number in range(steps):
            if number == WARMUP_STEPS:
                self._settle()
                self._warm = True
                # Later steps do not need what the allocator keeps of the warm-up.
                free_spare_memory(self.device)
                self._begin()
            counting = "training_peak_live_gb" not in self.peaks and number == min(counted_step, steps - 1)
            with LiveTensors(held_tensors(state)) if counting else nullcontext() as counter:
                report = next(reports)
            if counter:
                self.peaks["training_peak_live_gb"] = counter.peak_bytes / GB
                self._add("training_seconds", report.timer.seconds + report.data_timer.seconds)
            else:
                self._unread.append(report)
            if self._counted_from is not None:
                self.sums["metered_steps"] += 1
            yield report

    @contextmanager
    def evaluation(self, state: TrainState, networks: Iterable[Tensor] | None = None) -> Iterator[None]:
        """Measure the body as evaluation. networks: its tensors; live ones are counted the first time."""
        self._settle()
        # Before and after, so that neither phase's peak includes what the other has left in the allocator.
        free_spare_memory(self.device)
        reset_peaks(self.device)
        counting = networks is not None and "evaluation_peak_live_gb" not in self.peaks
        started = time.perf_counter()
        with LiveTensors([*held_tensors(state), *(networks or [])]) if counting else nullcontext() as counter:
            yield
        self._add("evaluation_seconds", time.perf_counter() - started)
        if counter:
            self.peaks["evaluation_peak_live_gb"] = counter.peak_bytes / GB
        self._update_peaks("evaluation")
        free_spare_memory(self.device)
        self._begin()

    @property
    def recent_seconds_per_step(self) -> float:
        """The median of the latest steps, with the wait for data. Only finished steps count: no GPU is waited for."""
        self._read_timers(only_done=True)
        return _median(map(sum, (self._steps or self._cold_steps)[-RECENT_STEPS:]))

    def costs(self, evaluations: int) -> dict[str, float]:
        """Return all measurements by the names of metrics. An iteration is one pair of images, as in the paper."""
        self._settle()
        steps = self._steps or self._cold_steps
        warm = {name: peak for name, peak in self.peaks.items() if not name.startswith(COLD)}
        cold = {name.replace(COLD, "training"): peak for name, peak in self.peaks.items() if name.startswith(COLD)}
        costs = {
            **cold,
            **warm,
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
        """Start to measure training: its peaks, and after the warm-up its energy."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        reset_peaks(self.device)
        self._counted_from = self._read_counter() if self._warm else None

    def _settle(self) -> None:
        """Add what training has cost since the last call."""
        self._read_timers()
        if self._warm or self._cold_steps:
            self._update_peaks("training" if self._warm else COLD)
        if self._counted_from is not None:
            now = self._read_counter()
            if now is not None:
                self.sums["joules"] += now - self._counted_from
            self._counted_from = now

    def _read_counter(self) -> float | None:
        """Return the joules so far, or None without a counter. The first fault drops the counter and the energy."""
        now = self._counter() if self._counter else None
        if self._counter and now is None:
            self._counter = None
            self._drop_energy()
        return now

    def _drop_energy(self) -> None:
        self.sums |= {"joules": 0, "metered_steps": 0}

    def _read_timers(self, *, only_done: bool = False) -> None:
        while self._unread and (not only_done or self._unread[0].timer.done):
            report = self._unread.popleft()
            step, data = report.timer.seconds, report.data_timer.seconds
            self._add("training_seconds", step + data)
            (self._steps if self._warm else self._cold_steps).append([step, data])

    def _add(self, kind: str, seconds: float) -> None:
        self.sums[kind] += seconds
        self.sums["device_seconds"] += self._part * seconds

    @property
    def _part(self) -> float:
        """The part of a GPU, or of the machine, that is the trial's."""
        return self.share.gpus if self.device.type == "cuda" else 1 / self.share.slots

    def _update_peaks(self, phase: str) -> None:
        for name, value in peaks_gb(self.device).items():
            self.peaks[f"{phase}_{name}"] = max(value, self.peaks.get(f"{phase}_{name}", 0.0))


def _median(seconds: Iterable[float]) -> float:
    return statistics.median(list(seconds) or [0.0])
