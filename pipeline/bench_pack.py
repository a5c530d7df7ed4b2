"""What trials side by side on one device do together, over one that has it to itself."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import torch
from rich.console import Console
from rich.table import Column, Table

from models.objective import Batch
from pipeline.compute import device_name, resolve_device, use_threads
from pipeline.config import compose_config
from pipeline.gpus import mps_runs
from pipeline.memory import keep_freed_memory
from pipeline.settings import Config
from pipeline.trainer import rng_for, step_taker
from pipeline.trial import build_state

SIDE_BY_SIDE = (1, 2, 4)
# How long each measurement counts steps, behind the first ones.
SECONDS, WARMUP_STEPS = 10.0, 5


@dataclass(frozen=True)
class Throughput:
    """So many trials, each with so many threads, and the steps that they take in a second together."""

    trials: int
    threads: int
    steps_per_second: float


def bench_pack(overrides: Sequence[str], repeats: int, *, as_json: bool) -> None:
    """Count steps of trials side by side, each in a process of its own; print throughputs and their ratio to one's."""
    device = resolve_device("auto")
    found = measure(compose_config(list(overrides)), repeats)
    alone = found[0].steps_per_second
    if as_json:
        lines = [{**asdict(one), "ratio": one.steps_per_second / alone} for one in found]
        print(json.dumps({"device": device_name(device), "mps": mps_runs(), "repeats": repeats, "packed": lines}))
        return
    title = f"steps of trials side by side on {device_name(device)}" + (" under MPS" if mps_runs() else "")
    names = ("threads each", "steps a second", "/ one trial")
    table = Table("trials", *(Column(name, justify="right") for name in names), title=title, title_justify="left")
    for one in found:
        ratio = f"{one.steps_per_second / alone:.2f}"
        table.add_row(str(one.trials), str(one.threads), f"{one.steps_per_second:.2f}", ratio)
    Console().print(table)


def measure(config: Config, repeats: int, seconds: float = SECONDS) -> list[Throughput]:
    """The best of the repeats for each number of trials; the numbers in turn, so that what else the machine does hits
    all alike."""
    cores = len(os.sched_getaffinity(0))
    best = dict.fromkeys(SIDE_BY_SIDE, 0.0)
    for _ in range(repeats):
        for trials in SIDE_BY_SIDE:
            best[trials] = max(best[trials], _together(config, trials, max(1, cores // trials), seconds))
    return [Throughput(trials, max(1, cores // trials), found) for trials, found in best.items()]


def _together(config: Config, trials: int, threads: int, seconds: float) -> float:
    """Steps a second of so many trials at once."""
    context = get_context("spawn")
    start = context.Barrier(trials)
    counters: list[Connection] = []
    processes = []
    for _ in range(trials):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_count_steps, args=(config, threads, seconds, start, theirs), daemon=True)
        process.start()
        theirs.close()
        counters.append(ours)
        processes.append(process)
    rates = [counter.recv() for counter in counters]
    for process in processes:
        process.join()
    return sum(rates)


def _count_steps(config: Config, threads: int, seconds: float, start: Barrier, told: Connection) -> None:
    """Take steps, begin to count them together with the others, and tell how many a second there were."""
    device = resolve_device("auto")
    use_threads(threads)
    keep_freed_memory()
    state = build_state(config, device)
    shape, size = config.data.shape, config.train.batch_size
    a, b = (
        torch.zeros(size, channels, shape.height, shape.width, device=device)
        for channels in (shape.channels_a, shape.channels_b)
    )
    batch, take_step = Batch(a, b), step_taker(state, device)
    for step in range(WARMUP_STEPS):
        take_step(batch, rng_for(0, "step", step))
    _finish(device)
    start.wait()
    started, step = time.perf_counter(), WARMUP_STEPS
    while time.perf_counter() - started < seconds:
        take_step(batch, rng_for(0, "step", step))
        step += 1
    _finish(device)
    told.send((step - WARMUP_STEPS) / (time.perf_counter() - started))


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
