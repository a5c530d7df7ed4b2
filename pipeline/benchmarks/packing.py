"""just bench pack: steps per second of several trials on one device, compared with one trial alone."""

import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any

from pipeline.benchmarks.process import WAITED, Failed, run_at_once, wait_for_all, worker_pool
from pipeline.benchmarks.report import Report, make_report
from pipeline.benchmarks.trial_steps import steps_of_each_kind, take_steps
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.hardware.device import resolve_device, use_threads
from pipeline.hardware.mps import CONTROL, PIPE_FOLDER, mps_available, mps_daemon
from pipeline.hardware.timers import Timer, start_timer, synchronize
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.loop import MOST_UNFINISHED

SIDE_BY_SIDE = (1, 2, 4)
# Seconds of each measurement, after the first steps. Steps on a GPU are short.
SECONDS = {"cpu": 10.0, "cuda": 4.0}
# First steps of each kind. With CUDA graphs the last of them is recorded.
FIRST_STEPS = WARM_UP + 1
# Limit for the first steps of all trials.
SECONDS_TO_START = 900.0


@dataclass(frozen=True)
class Sharing:
    """A way to share the device: its name, environment variables of the trials, and whether each has its own cores."""

    name: str
    environment: Mapping[str, str]
    pinned: bool = False


def bench_pack(overrides: Sequence[str], repeats: int) -> Report:
    """Count the steps of several trials at once. The rows have steps per second, and the ratio to one trial alone."""
    config = compose_config(list(overrides))
    device = resolve_device(config.compute.device)
    seconds, notes = SECONDS[device.type], list[str]()
    with ExitStack() as daemons:
        rows = measure(config, repeats, ways_to_share(device.type, daemons, notes), seconds)
    alone = rows[0]["steps_per_second"]
    for row in rows:
        rate = row["steps_per_second"]
        row["ratio"] = rate / alone if rate and alone else None
    settings = {
        "overrides": list(overrides),
        "task": config.data.name,
        "method": config.model.method,
        "image_size": list(config.data.size),
        "seconds": seconds,
    }
    cores = len(os.sched_getaffinity(0))
    return make_report("pack", rows, settings, device=device, threads=cores, repeats=repeats, notes=notes)


def ways_to_share(device: str, daemons: ExitStack, notes: list[str]) -> list[Sharing]:
    """Return the ways to share a device of this kind. The MPS daemon runs until the stack is closed.

    notes: gets a line if MPS is not available.
    """
    if device == "cpu":
        return [Sharing("all cores", {}), Sharing("cores pinned", {}, pinned=True)]
    # CUDA uses any daemon that it finds. In an empty folder it finds none.
    empty = daemons.enter_context(tempfile.TemporaryDirectory(prefix="no-mps-"))
    alone = Sharing("no MPS", {PIPE_FOLDER: empty})
    try:
        if not mps_available():
            raise UserError(f"{CONTROL} is not on the PATH.")
        environment = daemons.enter_context(mps_daemon())
    except UserError as error:
        notes.append(f"MPS was not measured: {error}")
        return [alone]
    return [alone, Sharing("MPS", environment), Sharing("MPS, cores pinned", environment, pinned=True)]


def measure(config: Config, repeats: int, ways: Sequence[Sharing], seconds: float) -> list[dict[str, Any]]:
    """Return the best repeat for each way and number of trials. One trial alone is measured in the first way only.

    The combinations take turns, so that other work of the machine slows all of them. A failed one is not repeated.
    """
    planned = [(way, trials) for way in ways for trials in SIDE_BY_SIDE if trials > 1 or way is ways[0]]
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(repeats):
        for way, trials in planned:
            before = best.get((way.name, trials))
            if before and before["error"]:
                continue
            found = run_together(config, trials, way, seconds)
            print(f"{way.name}, {trials} trials: {found['error'] or found['steps_per_second']}", file=sys.stderr)
            if before is None or found["error"] or found["steps_per_second"] > before["steps_per_second"]:
                best[way.name, trials] = found
    return list(best.values())


def run_together(config: Config, trials: int, way: Sharing, seconds: float) -> dict[str, Any]:
    """Count the steps of several trials at once. Return steps per second of all together, or the error of one.

    threads: of each trial.
    """
    cores = sorted(os.sched_getaffinity(0))
    threads = max(1, len(cores) // trials)
    own = [pinned_cores(cores, number, threads) if way.pinned else frozenset(cores) for number in range(trials)]
    with worker_pool(trials) as pool:
        calls = [partial(count_steps, config, threads, each, way.environment, seconds) for each in own]
        rates = run_at_once(pool, calls)
    counted = [rate for rate in rates if not isinstance(rate, Failed)]
    # The others only waited for the one that failed.
    errors = sorted((rate.reason for rate in rates if isinstance(rate, Failed)), key=lambda reason: reason == WAITED)
    result = {"steps_per_second": None if errors else sum(counted), "error": errors[0] if errors else None}
    return {"sharing": way.name, "trials": trials, "threads": threads, **result}


def pinned_cores(cores: Sequence[int], number: int, each: int) -> frozenset[int]:
    """Return the cores of a trial: its own ones, or a shared one if there are more trials than cores."""
    return frozenset(cores[(number * each + offset) % len(cores)] for offset in range(each))


def count_steps(
    config: Config, threads: int, cores: Collection[int], environment: Mapping[str, str], seconds: float
) -> float:
    """Do the first steps, wait for the other trials, then count steps for some seconds. Return steps per second."""
    # Before CUDA and threads start, because both read these only once.
    os.environ.update(environment)
    os.sched_setaffinity(0, cores)
    device = resolve_device(config.compute.device)
    use_threads(threads)
    first = steps_of_each_kind(config, FIRST_STEPS)
    issued = take_steps(config, device, threads, chain(first, count(max(first) + 1)), plain=False)
    for _ in first:
        next(issued)
    synchronize(device)
    wait_for_all(SECONDS_TO_START)
    started, steps = time.perf_counter(), 0
    unfinished: deque[Timer] = deque()
    while time.perf_counter() - started < seconds:
        timer = start_timer(device)
        next(issued)
        timer.stop()
        steps += 1
        # As in training, the host is not too many steps ahead of a GPU.
        unfinished.append(timer)
        if len(unfinished) > MOST_UNFINISHED:
            unfinished.popleft().wait()
    synchronize(device)
    return steps / (time.perf_counter() - started)
