"""just bench step: time and memory of a training step, as in the reference code and with each of our switches."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from models.configs import CUTConfig
from models.execution import REFERENCE, Execution
from pipeline.benchmarks.peaks import arithmetic_of, find_peak, utilisation
from pipeline.benchmarks.report import Cells, Report, print_table
from pipeline.benchmarks.ways import PLAIN, TimeWay, Timings, time_step, time_ways, ways_on
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.hardware.device import device_name, resolve_device
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import StepCost, step_cost

MODELS = ("cut", "fastcut", "cyclegan")
TASK = "task=horse2zebra"


@dataclass(frozen=True)
class StepRow:
    """One way to do a step of one model. None: it failed, or the value does not exist on this device.

    seconds: of each repeat. host_seconds: time of the host to issue a step. operations: floating-point operations, for
    FastCUT the mean over both kinds of steps. live_gb: counted peak of live tensors, on a CPU. Peaks in 10^9 bytes.
    *_ratio: to the plain way, except host_ratio: host_seconds to seconds.
    """

    model: str
    way: str
    error: str | None
    seconds: tuple[float, ...]
    execution: Execution | None = None
    seconds_median: float | None = None
    seconds_ratio: float | None = None
    host_seconds: float | None = None
    host_ratio: float | None = None
    operations: float | None = None
    utilisation: float | None = None
    live_gb: float | None = None
    live_ratio: float | None = None
    process_peak_gb: float | None = None
    peak_allocated_gb: float | None = None
    peak_reserved_gb: float | None = None


def bench_step(
    overrides: Sequence[str],
    repeats: int,
    *,
    ways: Sequence[str],
    compiling: bool,
    as_json: bool,
    work: TimeWay = time_step,
) -> None:
    """Time steps at 256 x 256 in every way. Print medians and their ratios to the plain way.

    ways: names of the wanted ways, empty for all. compiling: on CUDA also ways that compile. work: times one way.
    """
    given = compose_config([TASK, *overrides])
    device, threads = resolve_device(given.compute.device), torch.get_num_threads()
    rows: list[StepRow] = []
    for model in models_of(overrides):
        configs = ways_on(device.type, [TASK, *overrides, f"model={model}"], only=ways, compiling=compiling)
        print(f"{model}:", file=sys.stderr)
        timings = time_ways(configs, repeats, threads, sharing=device.type == "cuda", work=work)
        rows += rows_of(model, configs, timings, device)
    settings = {
        "overrides": list(overrides),
        "image_size": list(given.data.size),
        "batch_size": given.train.batch_size,
    }
    report = Report("step", device_name(device), device.type, threads, repeats, [asdict(row) for row in rows], settings)
    if as_json:
        print(report.to_json())
        return
    title = f"a training step on {report.device} with {threads} threads, {repeats} repeats"
    _print_rows(title, rows, cuda=device.type == "cuda")
    for row in rows:
        if row.error:
            print(f"{row.model}, {row.way} failed: {row.error}")


def models_of(overrides: Sequence[str]) -> list[str]:
    """Return the model that the overrides choose, else all models."""
    given = [override.partition("=")[2] for override in overrides if override.startswith("model=")]
    return given or list(MODELS)


def rows_of(
    model: str, configs: Mapping[str, Config], timings: Mapping[str, Timings], device: torch.device
) -> list[StepRow]:
    """Return a row for each way of one model."""
    rows = [_row(model, way, config, timings[way], device) for way, config in configs.items()]
    plain = next((row for row in rows if row.way == PLAIN), None)
    if plain is None:
        return rows
    return [
        replace(
            row,
            seconds_ratio=_ratio(row.seconds_median, plain.seconds_median),
            live_ratio=_ratio(row.live_gb, plain.live_gb),
        )
        for row in rows
    ]


def _row(model: str, way: str, config: Config, timings: Timings, device: torch.device) -> StepRow:
    """Return the row without its ratios to the plain way."""
    seconds = tuple(timed.seconds for timed in timings.repeats)
    row = StepRow(model, way, timings.error, seconds)
    if timings.error:
        return row
    hosts = [timed.host_seconds for timed in timings.repeats if timed.host_seconds is not None]
    median, host = statistics.median(seconds), statistics.median(hosts) if hosts else None
    execution = REFERENCE if way == PLAIN else resolve_execution(config.train, device.type)
    operations = _operations(config, plain=way == PLAIN)
    peaks = [timed.peaks_gb for timed in timings.repeats]
    return replace(
        row,
        execution=execution,
        seconds_median=median,
        host_seconds=host,
        host_ratio=_ratio(host, median),
        operations=operations,
        utilisation=_utilisation(operations, median, execution, device),
        # For a GPU, CUDA counts the allocated memory instead.
        live_gb=_cost(config, plain=way == PLAIN).live_gb if device.type == "cpu" else None,
        process_peak_gb=_most("process_peak_gb", peaks),
        peak_allocated_gb=_most("peak_allocated_gb", peaks),
        peak_reserved_gb=_most("peak_reserved_gb", peaks),
    )


def _cost(config: Config, *, plain: bool) -> StepCost:
    return step_cost(config, Path(config.paths.cache), plain=plain)


def _operations(config: Config, *, plain: bool) -> float:
    """Return the operations of a step. Of all switches, only recomputation changes them.

    `step_cost` counts the flipped step of FastCUT, so this takes the mean with the unflipped one.
    """
    train = replace(config.train, precision="float32", channels_last="auto", compile=False, cuda_graphs=False)
    config = replace(config, train=train)
    operations = _cost(config, plain=plain).operations
    if plain or not (isinstance(config.model, CUTConfig) and config.model.flip_equivariance):
        return operations
    unflipped = replace(config, model=replace(config.model, flip_equivariance=False))
    return (operations + _cost(unflipped, plain=False).operations) / 2


def _utilisation(operations: float, seconds: float, execution: Execution, device: torch.device) -> float | None:
    peak = find_peak(device_name(device))
    if peak is None:
        return None
    arithmetic = arithmetic_of(peak, execution.precision, tf32_allowed=torch.backends.cudnn.allow_tf32)
    return utilisation(operations, seconds, peak, arithmetic)


def _most(name: str, peaks: Sequence[Mapping[str, float]]) -> float | None:
    return max((peak[name] for peak in peaks if name in peak), default=None)


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _print_rows(title: str, rows: Sequence[StepRow], *, cuda: bool) -> None:
    memory = ("allocated GB", "reserved GB", "host / step", "of peak") if cuda else ("live GB", "/ plain", "process GB")
    cells: list[Cells] = []
    for row in rows:
        on_gpu = (row.peak_allocated_gb, 2), (row.peak_reserved_gb, 2), (row.host_ratio, 2), (row.utilisation, 3)
        on_cpu = (row.live_gb, 3), (row.live_ratio, 2), (row.process_peak_gb, 2)
        times = (
            _shown(row.seconds_median, 4),
            f"{min(row.seconds):.4f} to {max(row.seconds):.4f}" if row.seconds else "-",
            _shown(row.seconds_ratio, 2),
            _shown(row.operations and row.operations / 1e12, 3),
        )
        cells.append((row.model, row.way, *times, *(_shown(*value) for value in (on_gpu if cuda else on_cpu))))
    numbers = ("s, median", "least to most", "/ plain", "10^12 operations", *memory)
    print_table(title, ["model", "way"], numbers, cells)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
