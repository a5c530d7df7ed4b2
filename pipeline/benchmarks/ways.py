"""The ways to do a step that `just bench step` compares. Each is timed in a child process."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch

from pipeline.benchmarks.process import Child, Failed, serve
from pipeline.benchmarks.trial_steps import kinds_of_steps, steps_of_each_kind, take_steps
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.errors import UserError, nearest
from pipeline.hardware.device import resolve_device, use_threads
from pipeline.hardware.memory import free_spare_memory, peaks_gb, reset_peaks
from pipeline.hardware.timers import Timer, start_timer
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.execution import resolve_execution

PLAIN = "plain"
CPU_WAYS = {
    "no switch": ("train.channels_last=false",),
    "channels last": ("train.channels_last=true",),
    "recompute": ("train.channels_last=false", "train.recompute=true"),
    "bf16": ("train.channels_last=false", "train.precision=bf16"),
    "compile": ("train.channels_last=false", "train.compile=true"),
    "default": (),
    "default + recompute": ("train.recompute=true",),
    "default + bf16": ("train.precision=bf16",),
    "default + bf16 + recompute": ("train.precision=bf16", "train.recompute=true"),
}
_FIRST, _LAST = "train.channels_last=false", "train.channels_last=true"
_BF16, _GRAPHS, _COMPILE = "train.precision=bf16", "train.cuda_graphs=true", "train.compile=true"
_EAGER = "train.cuda_graphs=false"
CUDA_WAYS = {
    "default": (),
    "no switch": (_FIRST, _EAGER),
    "channels last": (_LAST, _EAGER),
    "bf16": (_FIRST, _EAGER, _BF16),
    "bf16 + channels last": (_LAST, _EAGER, _BF16),
    "CUDA graphs": (_FIRST, _GRAPHS),
    "bf16 + CUDA graphs": (_FIRST, _BF16, _GRAPHS),
    "bf16 + channels last + CUDA graphs": (_LAST, _BF16, _GRAPHS),
}
# Each takes minutes.
COMPILED_CUDA_WAYS = {
    "compile": (_FIRST, _EAGER, _COMPILE),
    "bf16 + channels last + compile": (_LAST, _EAGER, _BF16, _COMPILE),
    "bf16 + channels last + compile + CUDA graphs": (_LAST, _BF16, _COMPILE, _GRAPHS),
}
# Timed steps of each kind, after those that warm up or are recorded. Steps on a GPU are short.
STEPS = {"cpu": 1, "cuda": 20}
FIRST_STEPS = {"cpu": 1, "cuda": WARM_UP + 1}
# Steps of each kind that are issued to an idle GPU.
HOST_STEPS = 3


@dataclass(frozen=True)
class Timed:
    """Time of a step. host_seconds: time of the host to issue it, on a GPU. peaks_gb: from `hardware.memory`."""

    seconds: float
    host_seconds: float | None
    peaks_gb: Mapping[str, float]


@dataclass
class Timings:
    """The repeats of a way, and the error if one failed."""

    repeats: list[Timed] = field(default_factory=list[Timed])
    error: str | None = None


class TimeWay(Protocol):
    """A function that times a way in a child process."""

    def __call__(self, config: Config, threads: int, *, plain: bool) -> Timed: ...


def ways_on(
    device: str, given: Sequence[str], *, only: Sequence[str] = (), compiling: bool = False
) -> dict[str, Config]:
    """Return the configuration of each way. Ways that are the same on this kind of device share a row.

    only: names of the wanted ways, empty for all. compiling: on CUDA also ways that compile, which take minutes.
    Raises UserError for an unknown name.
    """
    known = CPU_WAYS if device == "cpu" else CUDA_WAYS | (COMPILED_CUDA_WAYS if compiling else {})
    for name in only:
        if name not in (PLAIN, *known):
            raise UserError(f"--ways: no way is called {name!r} on {device}; {nearest(name, (PLAIN, *known))}")
    configs = {way: compose_config([*given, *switches]) for way, switches in known.items()}
    same: dict[object, list[str]] = {}
    for way, config in configs.items():
        same.setdefault(_execution(config, device, way), []).append(way)
    named = [[PLAIN], *same.values()]
    configs[PLAIN] = compose_config(given)
    return {" = ".join(names): configs[names[0]] for names in named if not only or set(names) & set(only)}


def _execution(config: Config, device: str, way: str) -> object:
    """Return what distinguishes ways. A way that this machine cannot run keeps its own row, which says why."""
    try:
        return resolve_execution(config.train, device)
    except UserError:
        return way


def time_ways(
    configs: Mapping[str, Config], repeats: int, threads: int, *, sharing: bool, work: TimeWay
) -> dict[str, Timings]:
    """Time every way, the ways in turns, so that other work of the machine slows all of them.

    sharing: ways that do not compile use one process until a way fails; else each timing uses a new process. A way
    that failed is not repeated.
    """
    found = {way: Timings() for way in configs}
    shared: Child | None = None
    try:
        for _ in range(repeats):
            for way, config in configs.items():
                if found[way].error:
                    continue
                own = not sharing or config.train.compile
                timing = partial(work, config, threads, plain=way == PLAIN)
                if own:
                    took = _in_own_process(timing)
                else:
                    shared = shared or Child(serve)
                    took = shared.do(timing)
                _note(way, found[way], took)
                if isinstance(took, Failed) and shared and not own:
                    shared.stop()
                    shared = None
    finally:
        if shared:
            shared.stop()
    return found


def _in_own_process(timing: Callable[[], Timed]) -> Timed | Failed:
    worker = Child(serve)
    try:
        return worker.do(timing)
    finally:
        worker.stop()


def _note(way: str, timings: Timings, took: Timed | Failed) -> None:
    if isinstance(took, Failed):
        timings.error = took.reason
        print(f"{way}: failed: {took.reason}", file=sys.stderr)
    else:
        timings.repeats.append(took)
        print(f"{way}: {took.seconds:.4f} s", file=sys.stderr)


def time_step(config: Config, threads: int, *, plain: bool) -> Timed:
    """Time steps after the first ones, which are slow: they allocate, choose kernels, compile and record.

    For a model with two kinds of steps, return the mean over both.
    """
    device = resolve_device(config.compute.device)
    # Free the memory of an earlier way in this process.
    gc.collect()
    free_spare_memory(device)
    use_threads(threads)
    cuda, kinds = device.type == "cuda", kinds_of_steps(config)
    first, timed, host = FIRST_STEPS[device.type], STEPS[device.type], HOST_STEPS * cuda
    numbers = steps_of_each_kind(config, first + timed + host)
    steps = take_steps(config, device, threads, numbers, plain=plain)
    for _ in range(kinds * first):
        next(steps)
    if cuda:
        torch.cuda.synchronize(device)
        # Not on a CPU: there the only warm-up step is part of the peak.
        reset_peaks(device)
    timers: list[Timer] = []
    for _ in range(kinds * timed):
        timer = start_timer(device)
        next(steps)
        timer.stop()
        timers.append(timer)
    seconds, peaks = statistics.mean(timer.seconds for timer in timers), peaks_gb(device)
    host_seconds = _issue(steps, kinds * host, device) if cuda else None
    return Timed(seconds, host_seconds, peaks)


def _issue(steps: Iterator[None], count: int, device: torch.device) -> float:
    """Return the mean seconds of the host to issue a step, without waiting for the device."""
    seconds: list[float] = []
    for _ in range(count):
        # With a full queue the host would wait for the step before.
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        next(steps)
        seconds.append(time.perf_counter() - started)
    return statistics.mean(seconds)
