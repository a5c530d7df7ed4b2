"""What a training step costs: the reference code's way of taking it, and ours under each switch."""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from models.configs import CUTConfig
from models.execution import Execution
from models.objective import Batch
from models.plain import build_plain, plain_optimizers, plain_step
from pipeline.compute import device_name, execution_of, keep_compiled, resolve_device, use_threads
from pipeline.config import compose_config
from pipeline.cost import StepCost, count_step, rng_where
from pipeline.graphs import WARM_UP
from pipeline.memory import keep_freed_memory, process_peak_gb
from pipeline.settings import Config
from pipeline.timing import Lap, start_lap
from pipeline.trainer import rng_for, step_taker
from pipeline.trial import build_state

Step = Callable[[torch.Generator], object]

MODELS = ("cut", "fastcut", "cyclegan")
PLAIN = "plain"
WAYS = {
    "no switch": ("train.channels_last=false",),
    "channels last": ("train.channels_last=true",),
    "recompute": ("train.channels_last=false", "train.recompute=true"),
    "bf16": ("train.channels_last=false", "train.precision=bf16"),
    "compile": ("train.channels_last=false", "train.compile=true"),
    "default": (),
    "default, recompute": ("train.recompute=true",),
    "default, bf16": ("train.precision=bf16",),
    "default, bf16, recompute": ("train.precision=bf16", "train.recompute=true"),
}
CUDA_WAYS = {
    "default, CUDA graphs": ("train.cuda_graphs=true",),
    "default, bf16, CUDA graphs": ("train.precision=bf16", "train.cuda_graphs=true"),
    "default, bf16, compile, CUDA graphs": ("train.precision=bf16", "train.compile=true", "train.cuda_graphs=true"),
}
# Timed steps of a process, behind those that warm up or are recorded; a GPU's are short.
STEPS = {"cpu": 1, "cuda": 20}
FIRST_STEPS = {"cpu": 1, "cuda": WARM_UP + 1}


@dataclass(frozen=True)
class Measured:
    """One way of taking a step of one model. seconds: of each repeat; process_peak_gb: the most memory of any."""

    model: str
    way: str
    seconds: tuple[float, ...]
    process_peak_gb: float
    cost: StepCost

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def bench_step(overrides: Sequence[str], repeats: int, *, as_json: bool) -> None:
    """Time steps at 256 x 256, each in a process of its own and the ways in turn; print medians and their ratios."""
    device, threads = resolve_device("auto"), torch.get_num_threads()
    measured = [found for model in models_of(overrides) for found in measure(model, overrides, repeats)]
    if as_json:
        lines = [{**asdict(found), "seconds_median": found.median, **_ratios(found, measured)} for found in measured]
        print(json.dumps({"device": device_name(device), "threads": threads, "repeats": repeats, "steps": lines}))
        return
    title = f"a training step on {device_name(device)} with {threads} threads, {repeats} repeats in turn"
    names = ("s, median", "least to most", "/ plain", "10^12 operations", "live GB", "/ plain", "process GB")
    table = Table("model", "way", *(Column(name, justify="right") for name in names), title=title, title_justify="left")
    for found in measured:
        ratios = _ratios(found, measured)
        table.add_row(
            found.model,
            found.way,
            f"{found.median:.3f}",
            f"{min(found.seconds):.3f} to {max(found.seconds):.3f}",
            f"{ratios['seconds_ratio']:.2f}",
            f"{found.cost.operations / 1e12:.3f}",
            f"{found.cost.live_gb:.3f}",
            f"{ratios['live_ratio']:.2f}",
            f"{found.process_peak_gb:.2f}",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def models_of(overrides: Sequence[str]) -> list[str]:
    """The model that is asked for, else all."""
    given = [override.partition("=")[2] for override in overrides if override.startswith("model=")]
    return given or list(MODELS)


def measure(model: str, overrides: Sequence[str], repeats: int) -> list[Measured]:
    """The steps of one model, in the plain way and in all others that differ on this device."""
    configs = ways_on(resolve_device("auto").type, ["task=horse2zebra", *overrides, f"model={model}"])
    costs = {way: count_step(config, plain=way == PLAIN) for way, config in configs.items()}
    seconds: dict[str, list[float]] = {way: [] for way in configs}
    peaks, threads = dict.fromkeys(configs, 0.0), torch.get_num_threads()
    # In turns, so that what else the machine does hits all alike; a process each, since a process keeps its allocator.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        for _ in range(repeats):
            for way, config in configs.items():
                took, peak = processes.submit(time_step, config, threads, plain=way == PLAIN).result()
                print(f"{model}, {way}: {took:.3f} s", file=sys.stderr)
                seconds[way].append(took)
                peaks[way] = max(peak, peaks[way])
    return [Measured(model, way, tuple(seconds[way]), peaks[way], costs[way]) for way in configs]


def ways_on(device: str, given: Sequence[str]) -> dict[str, Config]:
    """Each way's trial; ways that on this kind of device are one are named together."""
    ways = WAYS | (CUDA_WAYS if device == "cuda" else {})
    configs = {way: compose_config([*given, *switches]) for way, switches in ways.items()}
    same: dict[Execution, list[str]] = {}
    for way, config in configs.items():
        same.setdefault(execution_of(config.train, device), []).append(way)
    return {PLAIN: compose_config(given), **{" = ".join(names): configs[names[0]] for names in same.values()}}


def time_step(config: Config, threads: int, *, plain: bool) -> tuple[float, float]:
    """Seconds of a step behind the first, which pay for allocations, kernels and compiling; and the process's peak
    of memory (10^9 bytes). Of a model that flips its sources now and then, the mean of an unflipped and a flipped one.
    """
    device = resolve_device("auto")
    use_threads(threads)
    flipping = isinstance(config.model, CUTConfig) and config.model.flip_equivariance
    kinds = [rng_where(flipping=flips).get_state() for flips in ((False, True) if flipping else (False,))]
    step = _plain_step(config, device) if plain else _own_step(config, device, threads)
    for kind in kinds * FIRST_STEPS[device.type]:
        step(_rng(kind))
    laps: list[Lap] = []
    for _ in range(STEPS[device.type]):
        for kind in kinds:
            lap = start_lap(device)
            step(_rng(kind))
            lap.stop()
            laps.append(lap)
    return statistics.mean(lap.seconds for lap in laps), process_peak_gb()


def _plain_step(config: Config, device: torch.device) -> Step:
    objective = build_plain(config.model, config.data.shape, rng_for(0, "weights"))
    objective.to(device)
    optimizers = plain_optimizers(objective, config.train.learning_rate, (config.train.beta1, config.train.beta2))
    return partial(plain_step, objective, optimizers, _batch(config, device))


def _own_step(config: Config, device: torch.device, threads: int) -> Step:
    """As a trial takes it."""
    keep_freed_memory()
    if config.train.compile:
        keep_compiled(Path(config.paths.cache), threads)
    state = build_state(config, device)
    batch = _batch(config, device)
    return partial(step_taker(state, device), batch)


def _batch(config: Config, device: torch.device) -> Batch:
    shape, rng = config.data.shape, rng_for(0, "images")

    def draw(channels: int) -> torch.Tensor:
        size = (config.train.batch_size, channels, shape.height, shape.width)
        return (2 * torch.rand(size, generator=rng) - 1).to(device)

    return Batch(draw(shape.channels_a), draw(shape.channels_b))


def _rng(state: torch.Tensor) -> torch.Generator:
    rng = torch.Generator()
    rng.set_state(state)
    return rng


def _ratios(found: Measured, measured: Sequence[Measured]) -> dict[str, float]:
    """Over the plain step of the same model."""
    (plain,) = (other for other in measured if (other.model, other.way) == (found.model, PLAIN))
    return {
        "seconds_ratio": found.median / plain.median,
        "live_ratio": found.cost.live_gb / plain.cost.live_gb,
    }
