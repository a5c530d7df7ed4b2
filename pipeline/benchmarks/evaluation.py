"""just bench fid: the time of an evaluation, compared with the time of its feature extractor."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.benchmarks.report import Report, make_report
from pipeline.benchmarks.trial_steps import random_dataset
from pipeline.config.schema import MetricConfig
from pipeline.hardware.device import resolve_device
from pipeline.hardware.timers import seconds_of
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extractors import load_extractor, untrained_inception
from pipeline.metrics.feature_cache import extract, in_batches
from pipeline.metrics.names import INCEPTION

# The test images of horse2zebra.
TRANSLATED, REAL, SIDE = 120, 140, 256


def bench_fid(repeats: int, *, images: int | None) -> Report:
    """Time evaluations with Inception and without a generator, and the extractor alone. The rows have medians.

    images: the number of images of each domain; None for the numbers of horse2zebra.
    """
    device = resolve_device("auto")
    translated, real = (images, images) if images else (TRANSLATED, REAL)
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_evaluations(Path(folder), device, repeats, translated, real)
    bare_a, bare_b = seconds.pop("bare, translated"), seconds.pop("bare, real")
    rows = [
        {"evaluation": part, "seconds": took, "extractor_seconds": bare, "ratio": took / bare}
        for (part, took), bare in zip(seconds.items(), (bare_a + bare_b, bare_a, bare_a), strict=True)
    ]
    settings = {"translated": translated, "real": real, "image_size": [SIDE, SIDE]}
    return make_report("fid", rows, settings, device=device, repeats=repeats)


def time_evaluations(folder: Path, device: torch.device, repeats: int, translated: int, real: int) -> dict[str, float]:
    """Return median seconds of each part: the extractor alone (bare) on translated and on real images, the first
    evaluation on a machine, the first one of a later trial, and later ones."""
    torch.save(untrained_inception(0), folder / "weights.pth")
    config = MetricConfig(extractor=INCEPTION, weights=str(folder / "weights.pth"))
    dataset = random_dataset((translated, 3, SIDE, SIDE), (real, 3, SIDE, SIDE))
    extractor = load_extractor(INCEPTION, config.weights)

    def bare(images: np.ndarray) -> None:
        extract(extractor, in_batches(images, config.batch_size), device)

    most = config.batch_size
    for size in {size for count in (translated, real) for size in (min(count, most), count % most)} - {0}:
        bare(dataset.test_a[:size])  # kernels are chosen once per shape
    seconds: dict[str, list[float]] = {}

    def timed(part: str, work: Callable[[], object]) -> None:
        # All of these end with results on the host, so a GPU has nothing left to do.
        seconds.setdefault(part, []).append(seconds_of(work))

    # In turns, so that other work of the machine slows all of them.
    for number in range(repeats):
        cache = folder / f"cache{number}"
        timed("bare, translated", lambda: bare(dataset.test_a))
        timed("bare, real", lambda: bare(dataset.test_b))
        for part in ("first on a machine", "first of a trial"):
            timed(part, lambda cache=cache: Evaluator(dataset, config, device, cache).evaluate(lambda images: images))
        evaluator = Evaluator(dataset, config, device, cache)
        timed("later", lambda evaluator=evaluator: evaluator.evaluate(lambda images: images))
    return {part: statistics.median(found) for part, found in seconds.items()}
