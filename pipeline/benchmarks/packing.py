"""just bench pack: steps per second of several trials on one device, compared with one trial alone."""

import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain, count
from multiprocessing.connection import Connection, wait

import torch

from pipeline.benchmarks.process import Child, Failed
from pipeline.benchmarks.report import Report, print_table
from pipeline.benchmarks.trial_steps import steps_of_each_kind, take_steps
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.hardware.device import device_name, resolve_device, use_threads
from pipeline.hardware.mps import mps_available, mps_daemon
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.loop import MOST_UNFINISHED

SIDE_BY_SIDE = (1, 2, 4)
# Seconds of each measurement, after the first steps. Steps on a GPU are short.
SECONDS = {"cpu": 10.0, "cuda": 4.0}
# First steps of each kind. With CUDA graphs the last of them is recorded.
FIRST_STEPS = WARM_UP + 1
# Limits for the first steps of all trials, and for the end of a measurement.
SECONDS_TO_START, SECONDS_TO_FINISH = 900.0, 120.0
ALONE = "no MPS"


@dataclass(frozen=True)
class Sharing:
    """A way to share the device: its name, environment variables of the trials, and whether each has its own cores."""

    name: str
    environment: Mapping[str, str]
    pinned: bool


@dataclass(frozen=True)
class Together:
    """Steps per second of all trials together, or the error. threads: of each trial."""

    sharing: str
    trials: int
    threads: int
    steps_per_second: float | None = None
    error: str | None = None


Count = Callable[[Connection, Config, int, frozenset[int], Mapping[str, str], float], None]


def bench_pack(overrides: Sequence[str], repeats: int, *, as_json: bool) -> None:
    """Count the steps of several trials at once. Print steps per second, and the ratio to one trial alone."""
    config = compose_config(list(overrides))
    device = resolve_device(config.compute.device)
    notes: list[str] = []
    daemons = ExitStack()
    try:
        found = measure(config, repeats, ways_to_share(device.type, daemons, notes), SECONDS[device.type])
    finally:
        _end(daemons, notes)
    alone = next((one.steps_per_second for one in found if one.trials == 1), None)
    ratios = [one.steps_per_second / alone if one.steps_per_second and alone else None for one in found]
    rows = [{**asdict(one), "ratio": ratio} for one, ratio in zip(found, ratios, strict=True)]
    cores = len(os.sched_getaffinity(0))
    settings = {
        "overrides": list(overrides),
        "task": config.data.name,
        "method": config.model.method,
        "image_size": list(config.data.size),
        "seconds": SECONDS[device.type],
    }
    report = Report("pack", device_name(device), device.type, cores, repeats, rows, settings, notes)
    if as_json:
        print(report.to_json())
        return
    cells = [
        (one.sharing, str(one.trials), str(one.threads), _shown(one.steps_per_second, "failed"), _shown(ratio, "-"))
        for one, ratio in zip(found, ratios, strict=True)
    ]
    title = f"steps of several trials at once on {report.device}"
    print_table(title, ["shared by", "trials"], ["threads each", "steps per second", "/ one trial"], cells)
    for one in found:
        if one.error:
            print(f"{one.sharing}, {one.trials} trials failed: {one.error}")
    for note in notes:
        print(note)


def _shown(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.2f}"


def _end(daemons: ExitStack, notes: list[str]) -> None:
    """End the daemons. If one does not end, add a note: the measurements stay valid."""
    try:
        daemons.close()
    except UserError as error:
        notes.append(f"The daemon of MPS did not end: {error}")


def ways_to_share(device: str, daemons: ExitStack, notes: list[str]) -> list[Sharing]:
    """Return the ways to share a device of this kind. The MPS daemon runs until the stack is closed.

    notes: gets a line if MPS is not available.
    """
    if device == "cpu":
        return [Sharing("all cores", {}, pinned=False), Sharing("cores pinned", {}, pinned=True)]
    # CUDA uses any daemon that it finds. In an empty folder it finds none.
    empty = daemons.enter_context(tempfile.TemporaryDirectory(prefix="no-mps-"))
    ways = [Sharing(ALONE, {"CUDA_MPS_PIPE_DIRECTORY": empty}, pinned=False)]
    if not mps_available():
        notes.append("MPS was not measured: nvidia-cuda-mps-control is not on the PATH.")
        return ways
    try:
        environment = daemons.enter_context(mps_daemon())
    except UserError as error:
        notes.append(f"MPS was not measured: {error}")
        return ways
    return [*ways, Sharing("MPS", environment, pinned=False), Sharing("MPS, cores pinned", environment, pinned=True)]


def measure(config: Config, repeats: int, ways: Sequence[Sharing], seconds: float) -> list[Together]:
    """Return the best repeat for each way and number of trials. One trial alone is measured in the first way only.

    The combinations take turns, so that other work of the machine slows all of them. A failed one is not repeated.
    """
    planned = [(way, trials) for way in ways for trials in SIDE_BY_SIDE if trials > 1 or way is ways[0]]
    best: dict[int, Together] = {}
    for _ in range(repeats):
        for number, (way, trials) in enumerate(planned):
            before = best.get(number)
            if before and before.error:
                continue
            found = run_together(config, trials, way, seconds)
            print(f"{way.name}, {trials} trials: {found.error or found.steps_per_second}", file=sys.stderr)
            best[number] = _better(before, found)
    return [best[number] for number in range(len(planned))]


def _better(one: Together | None, other: Together) -> Together:
    if one is None or other.error:
        return other
    return max(one, other, key=lambda found: found.steps_per_second or 0.0)


def run_together(config: Config, trials: int, way: Sharing, seconds: float, work: Count | None = None) -> Together:
    """Count the steps of several trials at once. If one fails or dies, stop all. The error says which one."""
    cores = sorted(os.sched_getaffinity(0))
    threads = max(1, len(cores) // trials)
    children: list[Child] = []
    try:
        for number in range(trials):
            own = pinned_cores(cores, number, threads) if way.pinned else frozenset(cores)
            children.append(Child(work or count_steps, config, threads, own, way.environment, seconds))
        _gather(children, time.monotonic() + SECONDS_TO_START)  # until each has done its first steps
        for child in children:
            child.send("count")
        rates = _gather(children, time.monotonic() + seconds + SECONDS_TO_FINISH)
    except _TrialError as error:
        return Together(way.name, trials, threads, error=str(error))
    finally:
        for child in children:
            child.stop()
    return Together(way.name, trials, threads, sum(rates))


class _TrialError(Exception):
    """A trial has no result. The text says which trial, and why."""


def _gather(children: Sequence[Child], until: float) -> list[float]:
    """Receive one message from every child. Raises _TrialError if one fails or is too late."""
    found: dict[int, float] = {}
    while len(found) < len(children):
        waiting = {child.connection: number for number, child in enumerate(children) if number not in found}
        ready = wait(list(waiting), max(0.0, until - time.monotonic()))
        if not ready:
            raise _TrialError(f"trial {min(waiting.values()) + 1} of {len(children)} did not answer in time")
        for number in (number for connection, number in waiting.items() if connection in ready):
            message = children[number].receive()
            if isinstance(message, Failed):
                raise _TrialError(f"trial {number + 1} of {len(children)}: {message.reason}")
            found[number] = message
    return [found[number] for number in range(len(children))]


def pinned_cores(cores: Sequence[int], number: int, each: int) -> frozenset[int]:
    """Return the cores of a trial: its own ones, or a shared one if there are more trials than cores."""
    return frozenset(cores[(number * each + offset) % len(cores)] for offset in range(each))


def count_steps(
    parent: Connection,
    config: Config,
    threads: int,
    cores: frozenset[int],
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    """Do the first steps, wait for a message, then count steps for some seconds. Send the steps per second."""
    # Before CUDA and threads start, because both read these only once.
    os.environ.update(environment)
    os.sched_setaffinity(0, cores)
    device = resolve_device(config.compute.device)
    use_threads(threads)
    first = steps_of_each_kind(config, FIRST_STEPS)
    issued = take_steps(config, device, threads, chain(first, count(max(first) + 1)), plain=False)
    for _ in first:
        next(issued)
    _finish(device)
    parent.send(0.0)
    parent.recv()
    started, steps = time.perf_counter(), 0
    for _ in _not_far_ahead(issued, device):
        steps += 1
        if time.perf_counter() - started >= seconds:
            break
    _finish(device)
    parent.send(steps / (time.perf_counter() - started))


def _not_far_ahead(issued: Iterator[None], device: torch.device) -> Iterator[None]:
    """Yield after each issued step. On a GPU, wait if the host is too many steps ahead."""
    unfinished: deque[torch.cuda.Event] = deque()
    for _ in issued:
        if device.type == "cuda":
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(device))
            unfinished.append(done)
            if len(unfinished) > MOST_UNFINISHED:
                unfinished.popleft().synchronize()
        yield


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
