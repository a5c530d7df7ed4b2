"""just bench fid: the time of an evaluation, compared with the time of its feature extractor."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.benchmarks.report import Report, print_table
from pipeline.config.schema import MetricConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.hardware.device import device_name, resolve_device
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extractors import Extractor, load_extractor, untrained_inception
from pipeline.metrics.feature_cache import extract, in_batches
from pipeline.metrics.names import INCEPTION

# The test images of horse2zebra.
TRANSLATED, REAL, SIDE = 120, 140, 256


def bench_fid(repeats: int, *, images: int | None, as_json: bool) -> None:
    """Time evaluations with Inception and without a generator. Print medians, and their ratios to the extractor alone.

    images: the number of images of each domain; None for the numbers of horse2zebra.
    """
    device = resolve_device("auto")
    translated, real = (images, images) if images else (TRANSLATED, REAL)
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_evaluations(Path(folder), device, repeats, translated, real)
    bare_a, bare_b = seconds.pop("bare, translated"), seconds.pop("bare, real")
    bare = {"first on a machine": bare_a + bare_b, "first of a trial": bare_a, "later": bare_a}
    ratios = {part: took / bare[part] for part, took in seconds.items()}
    if as_json:
        rows = [
            {"evaluation": part, "seconds": took, "extractor_seconds": bare[part], "ratio": ratios[part]}
            for part, took in seconds.items()
        ]
        settings = {"translated": translated, "real": real, "image_size": [SIDE, SIDE]}
        print(
            Report("fid", device_name(device), device.type, torch.get_num_threads(), repeats, rows, settings).to_json()
        )
        return
    title = f"{translated} translated and {real} real images on {device_name(device)}, medians of {repeats}"
    cells = [(part, f"{took:.2f}", f"{bare[part]:.2f}", f"{ratios[part]:.3f}") for part, took in seconds.items()]
    print_table(title, ["evaluation"], ["seconds", "extractor only", "ratio"], cells)


def time_evaluations(folder: Path, device: torch.device, repeats: int, translated: int, real: int) -> dict[str, float]:
    """Return median seconds of each part: the extractor alone (bare) on translated and on real images, the first
    evaluation on a machine, the first one of a later trial, and later ones."""
    torch.save(untrained_inception(0), folder / "weights.pth")
    config = MetricConfig(extractor=INCEPTION, weights=str(folder / "weights.pth"))
    dataset = _drawn(translated, real)
    extractor = load_extractor(INCEPTION, config.weights)
    batches = {
        size for count in (translated, real) for size in (min(count, config.batch_size), count % config.batch_size)
    }
    for size in batches - {0}:
        _bare(extractor, dataset.test_a[:size], config, device)  # kernels are chosen once per shape
    seconds: dict[str, list[float]] = {}

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def timed(part: str, work: Callable[[], object]) -> None:
        finish()
        started = time.perf_counter()
        work()
        finish()
        seconds.setdefault(part, []).append(time.perf_counter() - started)

    # In turns, so that other work of the machine slows all of them.
    for number in range(repeats):
        cache = folder / f"cache{number}"
        timed("bare, translated", lambda: _bare(extractor, dataset.test_a, config, device))
        timed("bare, real", lambda: _bare(extractor, dataset.test_b, config, device))
        for part in ("first on a machine", "first of a trial"):
            timed(part, lambda cache=cache: Evaluator(dataset, config, device, cache).evaluate(lambda images: images))
        evaluator = Evaluator(dataset, config, device, cache)
        timed("later", lambda evaluator=evaluator: evaluator.evaluate(lambda images: images))
    return {part: statistics.median(found) for part, found in seconds.items()}


def _bare(extractor: Extractor, images: np.ndarray, config: MetricConfig, device: torch.device) -> None:
    extract(extractor, in_batches(images, config.batch_size), device)


def _drawn(translated: int, real: int) -> Dataset:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (count, 3, SIDE, SIDE), np.uint8) for count in (translated, real))
    return Dataset(train_a=a, train_b=b, decay_a=a, decay_b=b, test_a=a, test_b=b, background_a=None)
