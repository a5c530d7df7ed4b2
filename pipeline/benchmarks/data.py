"""What data cost: reading photographs once a machine, and the batch of every step."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Column, Table

from pipeline.benchmarks.report import Report
from pipeline.config.schema import FolderConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import SPLITS, open_dataset, prepare
from pipeline.data.stripes import draw_pictures
from pipeline.hardware.device import device_name, resolve_device
from pipeline.rng import rng_for

# The paper's sizes: photographs of 256 x 256, enlarged to 286, of which 256 x 256 are cropped.
SIDE, LOAD_SIDE, IMAGES, BATCHES = 256, 286, 64, 500
# Steps to hold a batch's time against: the slowest and the fastest that are aimed at on one H100 (FastCUT, CycleGAN).
STEP_SECONDS = (0.0045, 0.014)


@dataclass(frozen=True)
class DataTimes:
    """Seconds: of an image that is decoded and resized into the cache; of finding a cache filled, for the whole set;
    of a batch of one pair, by the host's clock: the median of many, and the 95th percentile."""

    decode: float
    reopen: float
    batch: float
    batch_95: float


def bench_data(*, as_json: bool) -> None:
    """Time the way of images into batches, in a folder of its own, and hold it against the length of steps."""
    device = resolve_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        times = time_data(Path(folder))
    if as_json:
        rows = [
            {"work": "decode and resize an image, once a machine", "seconds": times.decode},
            {"work": f"find {4 * IMAGES} images in the cache", "seconds": times.reopen},
            {"work": "make a batch of one pair, median", "seconds": times.batch},
            {"work": "make a batch of one pair, 95th percentile", "seconds": times.batch_95},
        ]
        settings = {"image_size": [SIDE, SIDE], "load_size": [LOAD_SIDE, LOAD_SIDE], "batches": BATCHES}
        print(Report("data", device_name(device), device.type, torch.get_num_threads(), 1, rows, settings).to_json())
        return
    title = f"photographs of {SIDE} x {SIDE}, {LOAD_SIDE} before cropping, beside {device_name(device)}"
    table = Table("part", Column("ms", justify="right"), title=title, title_justify="left")
    table.add_row("decode and resize an image, once a machine", f"{1000 * times.decode:.2f}")
    table.add_row(f"find {4 * IMAGES} images in the cache", f"{1000 * times.reopen:.2f}")
    table.add_row("a batch of one pair, median", f"{1000 * times.batch:.3f}")
    table.add_row("a batch of one pair, 95th percentile", f"{1000 * times.batch_95:.3f}")
    Console().print(table)
    for step in STEP_SECONDS:
        print(f"A batch takes {100 * times.batch / step:.1f} % of a step of {1000 * step:g} ms.")


def time_data(folder: Path) -> DataTimes:
    """Fill a cache from JPEG files, find it again, and take batches from it."""
    config = FolderConfig("folder", "bench", str(folder), (LOAD_SIDE, LOAD_SIDE), (SIDE, SIDE), 3, 3)
    for number, split in enumerate(SPLITS):
        (folder / split).mkdir()
        drawn = draw_pictures(IMAGES, config.size, number, striped=split.endswith("B")).images
        for place, picture in enumerate(drawn):
            Image.fromarray(picture).save(folder / split / f"{place}.jpg", quality=95)
    decode = _seconds(lambda: prepare(config, folder / "cache"))
    reopen = _seconds(lambda: prepare(config, folder / "cache"))
    dataset = open_dataset(prepare(config, folder / "cache").folder)
    batches = UnpairedBatches(dataset, config.size, 1, 0)

    def take(step: int) -> None:
        epoch, index = divmod(step, batches.steps_per_epoch)
        batches.batch(epoch, index, rng_for(0, "step", step), decaying=False)

    seconds = [_seconds(lambda step=step: take(step)) for step in range(BATCHES)]
    # Training images are resized to both sizes, test images to one.
    resized = IMAGES * (2 * 2 + 2)
    return DataTimes(decode / resized, reopen, statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1])


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
