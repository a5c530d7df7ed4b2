"""just bench step: time and memory of a training step, as in the reference code and with each of our switches."""

import gc
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models.configs.cut import CUTConfig
from models.configs.execution import REFERENCE
from pipeline.benchmarks.process import Failed, run_at_once, worker_pool
from pipeline.benchmarks.report import Report, make_report
from pipeline.benchmarks.trial_steps import steps_of_each_kind, take_steps
from pipeline.benchmarks.ways import PLAIN, ways_on
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.hardware.device import device_name, resolve_device, use_threads
from pipeline.hardware.memory import free_spare_memory, peaks_gb, reset_peaks
from pipeline.hardware.peaks import utilisation
from pipeline.hardware.timers import Timer, seconds_of, start_timer, synchronize
from pipeline.training.cuda_graphs import WARM_UP
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import step_cost

MODELS = ("cut", "fastcut", "cyclegan")
TASK = "task=horse2zebra"
# Timed steps of each kind, after those that warm up or are recorded. Steps on a GPU are short.
STEPS = {"cpu": 1, "cuda": 20}
FIRST_STEPS = {"cpu": 1, "cuda": WARM_UP + 1}
# Steps of each kind that are issued to an idle GPU.
HOST_STEPS = 3

# The values of a row. None: the way failed, or the value does not exist on this device. seconds: of each repeat.
# execution: the switches. host_seconds: time of the host to issue a step. operations: floating-point operations, for
# FastCUT the mean over both kinds of steps. live_gb: counted peak of live tensors, on a CPU. Peaks in 10^9 bytes.
# *_ratio: to the plain way, except host_ratio: host_seconds to seconds.
VALUES = (
    "execution", "seconds_median", "seconds_ratio", "host_seconds", "host_ratio", "operations", "utilisation",
    "live_gb", "live_ratio", "process_peak_gb", "peak_allocated_gb", "peak_reserved_gb",
)  # fmt: skip

Row = dict[str, Any]
# The repeats of a way, each as `time_step` returns it. The last one may have failed.
Timings = Sequence[Mapping[str, float] | Failed]


def bench_step(
    overrides: Sequence[str], repeats: int, *, only: Sequence[str], compiling: bool, choices: bool = False
) -> Report:
    """Time steps at 256 x 256 in every way. The rows have medians and their ratios to the plain way.

    only: names of the wanted ways, empty for all. compiling: on CUDA also ways that compile. choices: CUT with each of
    its choices, in place of the models and ways.
    """
    given = compose_config([TASK, *overrides])
    device, threads = resolve_device(given.compute.device), torch.get_num_threads()
    models = [override.partition("=")[2] for override in overrides if override.startswith("model=")]
    rows: list[Row] = []
    for model in models or (("cut",) if choices else MODELS):
        given_model = [TASK, *overrides, f"model={model}"]
        configs = ways_on(device.type, given_model, only=only, compiling=compiling, choices=choices)
        print(f"{model}:", file=sys.stderr)
        rows += rows_of(model, configs, time_ways(configs, repeats, threads, sharing=device.type == "cuda"), device)
    settings = {
        "overrides": list(overrides),
        "image_size": list(given.data.size),
        "batch_size": given.train.batch_size,
    }
    return make_report("step", rows, settings, device=device, threads=threads, repeats=repeats)


def time_ways(configs: Mapping[str, Config], repeats: int, threads: int, *, sharing: bool) -> Mapping[str, Timings]:
    """Time every way, the ways in turns, so that other work of the machine slows all of them.

    sharing: ways that do not compile use one process until a way fails; else each timing uses a new process. A way
    that failed is not repeated.
    """
    found: dict[str, list[Mapping[str, float] | Failed]] = {way: [] for way in configs}
    shared: ProcessPoolExecutor | None = None
    for way, config in [*configs.items()] * repeats:
        if _error(found[way]):
            continue
        alone = not sharing or config.train.compile
        pool = worker_pool() if alone or shared is None else shared
        (took,) = run_at_once(pool, [partial(time_step, config, threads, plain=way == PLAIN)])
        found[way].append(took)
        failed = isinstance(took, Failed)
        print(f"{way}: failed: {took.reason}" if failed else f"{way}: {took['seconds']:.4f} s", file=sys.stderr)
        if alone or failed:
            pool.shutdown()
        if not alone:
            shared = None if failed else pool
    if shared:
        shared.shutdown()
    return found


def time_step(config: Config, threads: int, *, plain: bool) -> Mapping[str, float]:
    """Time steps after the first ones, which are slow: they allocate, choose kernels, compile and record.

    Return the `seconds` of a step, for a model with two kinds of steps the mean over both; on a GPU the `host_seconds`,
    in which the host issues it; the peaks of `hardware.memory`.
    """
    device = resolve_device(config.compute.device)
    # Free the memory of an earlier way in this process.
    gc.collect()
    free_spare_memory(device)
    use_threads(threads)
    cuda = device.type == "cuda"
    first, timed, host = FIRST_STEPS[device.type], STEPS[device.type], HOST_STEPS * cuda
    numbers = steps_of_each_kind(config, first + timed + host)
    kinds = len(numbers) // (first + timed + host)
    steps = take_steps(config, device, threads, numbers, plain=plain)
    for _ in range(kinds * first):
        next(steps)
    if cuda:
        synchronize(device)
        # Not on a CPU: there the only warm-up step is part of the peak.
        reset_peaks(device)
    timers: list[Timer] = []
    for _ in range(kinds * timed):
        timer = start_timer(device)
        next(steps)
        timer.stop()
        timers.append(timer)
    found = {"seconds": statistics.mean(timer.seconds for timer in timers), **peaks_gb(device)}
    if cuda:
        issued: list[float] = []
        for _ in range(kinds * host):
            # With a full queue the host would wait for the step before.
            synchronize(device)
            issued.append(seconds_of(lambda: next(steps)))
        found["host_seconds"] = statistics.mean(issued)
    return found


def rows_of(
    model: str, configs: Mapping[str, Config], timings: Mapping[str, Timings], device: torch.device
) -> list[Row]:
    """Return a row for each way of one model."""
    rows = [_row(model, way, config, timings[way], device) for way, config in configs.items()]
    for plain in [row for row in rows if row["way"] == PLAIN]:
        for row in rows:
            row["seconds_ratio"] = _ratio(row["seconds_median"], plain["seconds_median"])
            row["live_ratio"] = _ratio(row["live_gb"], plain["live_gb"])
    return rows


def _row(model: str, way: str, config: Config, timings: Timings, device: torch.device) -> Row:
    """Return the row without its ratios to the plain way."""
    repeats = [timed for timed in timings if not isinstance(timed, Failed)]
    seconds, error = [timed["seconds"] for timed in repeats], _error(timings)
    row: Row = {"model": model, "way": way, "error": error, "seconds": seconds, **dict.fromkeys(VALUES)}
    if error:
        return row
    plain = way == PLAIN
    execution = REFERENCE if plain else resolve_execution(config.train, device.type)
    median, operations = statistics.median(seconds), _operations(config, plain=plain)
    row |= {name: max(timed[name] for timed in repeats) for name in repeats[0] if name.endswith("_gb")}
    if device.type == "cuda":
        row["host_seconds"] = statistics.median(timed["host_seconds"] for timed in repeats)
    else:
        # For a GPU, CUDA counts the allocated memory instead.
        row["live_gb"] = step_cost(config, Path(config.paths.cache), plain=plain).live_gb
    tf32 = torch.backends.cudnn.allow_tf32
    return row | {
        "execution": asdict(execution),
        "seconds_median": median,
        "host_ratio": _ratio(row["host_seconds"], median),
        "operations": operations,
        "utilisation": utilisation(operations, median, device_name(device), execution.precision, tf32_allowed=tf32),
    }


def _error(timings: Timings) -> str | None:
    return timings[-1].reason if timings and isinstance(timings[-1], Failed) else None


def _operations(config: Config, *, plain: bool) -> float:
    """Return the operations of a step. Of all switches, only recomputation changes them.

    `step_cost` counts the flipped step of FastCUT, so this takes the mean with the unflipped one.
    """
    train = replace(config.train, precision="float32", channels_last="auto", compile=False, cuda_graphs=False)
    models = [config.model]
    if not plain and isinstance(config.model, CUTConfig) and config.model.flip_equivariance:
        models.append(replace(config.model, flip_equivariance=False))
    cache = Path(config.paths.cache)
    counted = [step_cost(replace(config, train=train, model=model), cache, plain=plain) for model in models]
    return statistics.mean(cost.operations for cost in counted)


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
