"""just bench data: what it costs to read images, once per machine, and to make the batch of each step."""

import statistics
import tempfile
from pathlib import Path

from PIL import Image

from pipeline.benchmarks.report import Report, make_report
from pipeline.config.schema import FolderConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import SPLITS, open_dataset, prepare
from pipeline.data.stripes import draw_pictures
from pipeline.hardware.device import resolve_device
from pipeline.hardware.timers import seconds_of
from pipeline.rng import rng_for

# The sizes of the paper: images are enlarged to 286 x 286 and cropped to 256 x 256.
SIDE, LOAD_SIDE, IMAGES, BATCHES = 256, 286, 64, 500


def bench_data() -> Report:
    """Measure reading images and making batches in a temporary folder. The report compares a batch with a step."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_data(Path(folder))
    rows = [{"work": work, "seconds": took} for work, took in seconds.items()]
    settings = {"image_size": [SIDE, SIDE], "load_size": [LOAD_SIDE, LOAD_SIDE], "batches": BATCHES}
    return make_report("data", rows, settings, device=resolve_device("auto"))


def time_data(folder: Path) -> dict[str, float]:
    """Return the seconds of each kind of work: fill a cache from JPEG files, open it again, make batches from it.

    Decoding is per image, opening is for the whole data set. A batch has one pair of images; host clock.
    """
    config = FolderConfig("folder", "bench", str(folder), (LOAD_SIDE, LOAD_SIDE), (SIDE, SIDE), 3, 3)
    for number, split in enumerate(SPLITS):
        (folder / split).mkdir()
        drawn = draw_pictures(IMAGES, config.size, number, striped=split.endswith("B")).images
        for index, image in enumerate(drawn):
            Image.fromarray(image).save(folder / split / f"{index}.jpg", quality=95)
    decode = seconds_of(lambda: prepare(config, folder / "cache"))
    reopen = seconds_of(lambda: prepare(config, folder / "cache"))
    dataset = open_dataset(prepare(config, folder / "cache").folder)
    batches = UnpairedBatches(dataset, config.size, 1, 0)

    def take(step: int) -> None:
        epoch, index = divmod(step, batches.steps_per_epoch)
        batches.batch(epoch, index, rng_for(0, "step", step), decaying=False)

    seconds = [seconds_of(lambda step=step: take(step)) for step in range(BATCHES)]
    # Training images are resized to both sizes, test images to one.
    resized = IMAGES * (2 * 2 + 2)
    return {
        "decode and resize an image, once a machine": decode / resized,
        f"find {4 * IMAGES} images in the cache": reopen,
        "make a batch of one pair, median": statistics.median(seconds),
        "make a batch of one pair, 95th percentile": statistics.quantiles(seconds, n=20)[-1],
    }
