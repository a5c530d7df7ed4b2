"""Data sets of unpaired images: decoded once into a cache that all trials share.

Arrays are (N, 1 or 3, H, W). They have 8 bits, or 16 if one of the files has 16. A cache entry is named by a hash of
its source files and of the settings. It is opened as a memory map.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache import DamagedEntryError, cached, content_key
from pipeline.config.schema import FolderConfig, StripesConfig
from pipeline.config.trial_key import RESULT_VERSION
from pipeline.data import stripes
from pipeline.data.image_io import SUFFIXES, Picture, image_files, read_image, resize, to_16_bits, with_channels
from pipeline.errors import UserError, first_line

SPLITS = ("trainA", "trainB", "testA", "testB")
DataConfig = StripesConfig | FolderConfig


@dataclass(frozen=True)
class Dataset:
    """The images of both domains.

    train_*: at the size from which crops are taken. decay_*: at the size of the crops, for the decay phase; the
    reference code crops at random only before that phase. background_a (N, H, W): where a translation must not change
    test_a; only drawn tasks have it.
    """

    train_a: Picture
    train_b: Picture
    decay_a: Picture
    decay_b: Picture
    test_a: Picture
    test_b: Picture
    background_a: NDArray[np.bool_] | None


@dataclass(frozen=True)
class PreparedData:
    """The folder of a data set's cache entry, and the hash of the content it was made from."""

    folder: Path
    fingerprint: str


def prepare(config: DataConfig, cache: Path) -> PreparedData:
    """Put the data set into the cache unless it is there. Raises UserError for a folder that cannot be used."""
    match config:
        case StripesConfig():
            return _prepare_stripes(config, cache)
        case FolderConfig():
            files = {split: list_images(Path(config.root) / split) for split in SPLITS}
            return _store(cache, _digest(_contents(files)), config, lambda: _decode_folder(files, config))


def open_dataset(folder: Path) -> Dataset:
    """Open the arrays of a cache entry as memory maps."""
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    optional = {"decay_a": arrays["train_a"], "decay_b": arrays["train_b"], "background_a": None}
    return Dataset(**(optional | arrays))


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name. Raises UserError if there are fewer than two."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. data.root must contain {', '.join(SPLITS)}")
    files = image_files(folder)
    if len(files) < 2:
        raise UserError(f"{folder}: {len(files)} images found, at least 2 are needed ({' '.join(sorted(SUFFIXES))})")
    return files


def _draw_stripes(config: StripesConfig) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, (split, count) in enumerate((("train", config.train_count), ("test", config.test_count))):
        for domain, striped, channels in (("a", False, config.channels_a), ("b", True, config.channels_b)):
            pictures = stripes.draw_pictures(count, config.size, 2 * config.drawing_seed + number, striped=striped)
            images = np.stack([with_channels(image, channels) for image in pictures.images])
            arrays[f"{split}_{domain}"] = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
            if (split, domain) == ("test", "a"):
                arrays["background_a"] = ~pictures.masks
    return arrays


def _decode_folder(files: dict[str, list[Path]], config: FolderConfig) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    for domain, channels in (("A", config.channels_a), ("B", config.channels_b)):
        train, test = files[f"train{domain}"], files[f"test{domain}"]
        arrays[f"train_{domain.lower()}"] = decode(train, config.load_size, channels)
        if config.load_size != config.size:
            arrays[f"decay_{domain.lower()}"] = decode(train, config.size, channels)
        arrays[f"test_{domain.lower()}"] = decode(test, config.size, channels)
    return arrays


def decode(files: list[Path], size: tuple[int, int], channels: int, *, resizing: bool = True) -> Picture:
    """Return the images (N, channels, H, W), resized to one size. They have 16 bits if one of the files has 16.

    Raises UserError for a file that cannot be read, and without `resizing` for one of another size.
    """
    images: Picture = np.zeros((len(files), channels, *size), dtype=np.uint8)
    for number, path in enumerate(files):
        picture = read_image(path)
        if not resizing and picture.shape[:2] != size:
            found, wanted = (f"{height} x {width}" for height, width in (picture.shape[:2], size))
            raise UserError(
                f"{path}: {found} pixels, but the task's images have {wanted}. resize=yes resizes with Pillow's "
                "bicubic filter, which changes the distances"
            )
        picture = resize(with_channels(picture, channels), size)
        if picture.dtype == np.uint16:
            images = to_16_bits(images)
        images[number] = (to_16_bits(picture) if images.dtype == np.uint16 else picture).transpose(2, 0, 1)
    return images


def _prepare_stripes(config: StripesConfig, cache: Path) -> PreparedData:
    """Draw the images, unless the same code has drawn them from the same settings before."""
    drawn_from = [_settings_of_entry(config), inspect.getsource(stripes), np.__version__]

    def make(note: Path) -> None:
        arrays = _draw_stripes(config)
        fingerprint = _digest((name, arrays[name].tobytes()) for name in sorted(arrays))
        note.write_text(_store(cache, fingerprint, config, lambda: arrays).fingerprint, encoding="ascii")

    def read(note: Path) -> PreparedData:
        fingerprint = note.read_text(encoding="ascii")
        return _read_entry(_entry(cache, fingerprint, config), fingerprint)

    return cached(cache / "data" / f"{content_key(drawn_from)}.drawn", make, read)


def _store(
    cache: Path, fingerprint: str, config: DataConfig, arrays: Callable[[], dict[str, NDArray[np.generic]]]
) -> PreparedData:
    """Put the arrays into the cache unless they are in it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name, array in arrays().items():
            np.save(folder / f"{name}.npy", array)

    return cached(_entry(cache, fingerprint, config), make, lambda folder: _read_entry(folder, fingerprint))


def _read_entry(folder: Path, fingerprint: str) -> PreparedData:
    """Check that all arrays can be opened. Raises DamagedEntryError."""
    try:
        open_dataset(folder)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DamagedEntryError(f"the data set {folder} is damaged ({first_line(error)})") from None
    return PreparedData(folder, fingerprint)


def _entry(cache: Path, fingerprint: str, config: DataConfig) -> Path:
    return cache / "data" / content_key([fingerprint, _settings_of_entry(config), RESULT_VERSION])


def _settings_of_entry(config: DataConfig) -> dict[str, Any]:
    """The settings that a cache entry depends on."""
    elsewhere = ("name", "root", "expected_images")
    return {name: value for name, value in asdict(config).items() if name not in elsewhere}


def _contents(files: dict[str, list[Path]]) -> Iterator[tuple[str, bytes]]:
    for split in sorted(files):
        for path in files[split]:
            try:
                yield f"{split}/{path.name}", path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}). Repair or remove it") from None


def _digest(parts: Iterable[tuple[str, bytes]]) -> str:
    whole = hashlib.sha256()
    for name, content in parts:
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return whole.hexdigest()[:16]
