"""Unpaired images of two domains: decoded once into a cache that all trials share, then batches of them.

Arrays are 8 bits, (N, 3, H, W). A cache entry is named by the content it was made from and by how, is written
whole or not at all, and is opened as a memory map.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from models.objective import Batch
from pipeline.errors import UserError, first_line
from pipeline.settings import FolderConfig, StripesConfig
from pipeline.stripes import draw_pictures
from pipeline.trainer import rng_for

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
SPLITS = ("trainA", "trainB", "testA", "testB")
DataConfig = StripesConfig | FolderConfig
Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """train_*: images at the size that crops are taken from; decay_*: at the crop's size, for the decay phase
    (the reference code crops at random only before it). background_a (N, H, W): where test_a must not change,
    known for drawn tasks alone."""

    train_a: Array
    train_b: Array
    decay_a: Array
    decay_b: Array
    test_a: Array
    test_b: Array
    background_a: NDArray[np.bool_] | None


@dataclass(frozen=True)
class PreparedData:
    """Where a data set's cache entry lies, and the hash of the content it was made from."""

    folder: Path
    fingerprint: str


def prepare(config: DataConfig, cache: Path) -> PreparedData:
    """Fill the cache if this content is not in it yet. Raises UserError for a folder that cannot serve."""
    match config:
        case StripesConfig():
            arrays = _draw_stripes(config)
            return _store(cache, _digest_arrays(arrays), config, lambda: arrays)
        case FolderConfig():
            files = {split: list_images(Path(config.root) / split) for split in SPLITS}
            return _store(cache, _digest_files(files), config, lambda: _decode_folder(files, config))


def open_dataset(folder: Path) -> Dataset:
    """The arrays of a cache entry, read as they are needed."""
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    return Dataset(
        **{name: arrays[name] for name in ("train_a", "train_b", "test_a", "test_b")},
        decay_a=arrays.get("decay_a", arrays["train_a"]),
        decay_b=arrays.get("decay_b", arrays["train_b"]),
        background_a=arrays.get("background_a"),
    )


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, by name. Raises UserError where there are fewer than two."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; data.root must hold {', '.join(SPLITS)}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(files) < 2:
        raise UserError(
            f"{folder}: {len(files)} images found, at least 2 are needed ({' '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return files


class UnpairedBatches:
    """Batches of both domains: A in a new order each epoch, B at random; cropped and flipped at random.

    An epoch has max(|A|, |B|) images of A (the shorter domain comes round again), as in the reference code.
    """

    def __init__(self, dataset: Dataset, size: int, batch_size: int, seed: int, device: torch.device) -> None:
        self.dataset, self.size, self.batch_size, self.seed, self.device = dataset, size, batch_size, seed, device
        self.images_per_epoch = max(len(dataset.train_a), len(dataset.train_b))
        self.steps_per_epoch = max(1, self.images_per_epoch // batch_size)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batch(self, epoch: int, index: int, rng: torch.Generator, *, decaying: bool) -> Batch:
        """The index-th batch of an epoch (both from 0), a function of these and rng alone."""
        a, b = (
            (self.dataset.decay_a, self.dataset.decay_b) if decaying else (self.dataset.train_a, self.dataset.train_b)
        )
        places_a = self._order(epoch)[index * self.batch_size : (index + 1) * self.batch_size] % len(a)
        places_b = torch.randint(len(b), (len(places_a),), generator=rng).numpy()
        return Batch(self._augmented(a[places_a], rng), self._augmented(b[places_b], rng))

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return torch.randperm(self.images_per_epoch, generator=rng_for(self.seed, "order", epoch)).numpy()

    def _augmented(self, images: Array, rng: torch.Generator) -> torch.Tensor:
        room_y, room_x = (extent - self.size for extent in images.shape[-2:])
        cropped = [
            self._flipped(_crop(image, room_y, room_x, self.size, rng), rng) for image in torch.from_numpy(images)
        ]
        return to_model_range(torch.stack(cropped).to(self.device))

    @staticmethod
    def _flipped(image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return image.flip(-1) if torch.rand((), generator=rng) < 0.5 else image


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """8 bits -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_8_bits(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> 8 bits, rounded to the nearest as a PNG would hold it."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _crop(image: torch.Tensor, room_y: int, room_x: int, size: int, rng: torch.Generator) -> torch.Tensor:
    top = int(torch.randint(room_y + 1, (), generator=rng))
    left = int(torch.randint(room_x + 1, (), generator=rng))
    return image[:, top : top + size, left : left + size]


def _draw_stripes(config: StripesConfig) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, (split, count) in enumerate((("train", config.train_count), ("test", config.test_count))):
        for domain, striped in (("a", False), ("b", True)):
            pictures = draw_pictures(count, config.size, 2 * config.drawing_seed + number, striped=striped)
            arrays[f"{split}_{domain}"] = np.ascontiguousarray(pictures.images.transpose(0, 3, 1, 2))
            if (split, domain) == ("test", "a"):
                arrays["background_a"] = ~pictures.masks
    return arrays


def _decode_folder(files: dict[str, list[Path]], config: FolderConfig) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    for domain in "AB":
        arrays[f"train_{domain.lower()}"] = _decode(files[f"train{domain}"], config.load_size)
        if config.load_size != config.size:
            arrays[f"decay_{domain.lower()}"] = _decode(files[f"train{domain}"], config.size)
        arrays[f"test_{domain.lower()}"] = _decode(files[f"test{domain}"], config.size)
    return arrays


def _decode(files: list[Path], size: int) -> Array:
    """Each image as 8-bit RGB, resized to a square by Pillow's bicubic filter (the protocol's)."""
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    for number, path in enumerate(files):
        try:
            with Image.open(path) as image:
                resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        except Exception as error:  # decoders of many formats raise many kinds
            raise UserError(f"{path}: cannot be read as an image ({first_line(error)}); repair or remove it") from None
        images[number] = np.asarray(resized).transpose(2, 0, 1)
    return images


def _store(
    cache: Path, fingerprint: str, config: DataConfig, make: Callable[[], dict[str, NDArray[np.generic]]]
) -> PreparedData:
    settings = {name: value for name, value in asdict(config).items() if name not in ("name", "root")}
    entry = hashlib.sha256(json.dumps([fingerprint, settings], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache / "data" / entry
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            arrays = make()
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for name, array in arrays.items():
                np.save(partial / f"{name}.npy", array)
            partial.rename(folder)
    return PreparedData(folder, fingerprint)


def _digest_arrays(arrays: dict[str, NDArray[np.generic]]) -> str:
    return _digest(part for name in sorted(arrays) for part in (name.encode(), arrays[name].tobytes()))


def _digest_files(files: dict[str, list[Path]]) -> str:
    named = ((f"{split}/{path.name}", path) for split in sorted(files) for path in files[split])
    return _digest(part for name, path in named for part in (name.encode(), _read(path)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); repair or remove it") from None


def _digest(parts: Iterator[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]
