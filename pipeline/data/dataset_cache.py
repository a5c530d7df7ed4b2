"""Data sets of unpaired images: decoded once into a cache that all trials share.

Arrays are (N, 1 or 3, H, W). They have 8 bits, or 16 if one of the files has 16. A cache entry is named by a hash of
its source files and of the settings. It is opened as a memory map.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.records.printable import printable
from pipeline.cache import DamagedEntryError, cached, content_key
from pipeline.config.schema import FolderConfig, StripesConfig
from pipeline.config.single_image.settings import PicturesConfig, SingleConfig
from pipeline.config.trial_key import RESULT_VERSION
from pipeline.data import stripes
from pipeline.data.decoding import write_arrays
from pipeline.data.fingerprints import combined_digest, file_digests
from pipeline.data.image_io import SUFFIXES, Picture, image_files, read_image, with_channels
from pipeline.data.in_threads import in_threads
from pipeline.data.single_image import drawing
from pipeline.data.single_image.pair import decode_pair, draw_pair, find_pair
from pipeline.data.staging import SPLITS, mirror_images
from pipeline.errors import UserError, collected, first_line
from pipeline.storage.address import is_address

DrawnConfig = StripesConfig | PicturesConfig
DataConfig = FolderConfig | SingleConfig | DrawnConfig
# Settings of a data set that its cache entry does not depend on.
NOT_IN_ENTRY = ("name", "root", "expected_images", "on_bad", "crops_per_epoch", "largest_shrink", "zoom")
# Of the files that are left out, so many are named.
SHOWN_NAMES = 5


@dataclass(frozen=True)
class Dataset:
    """The images of both domains.

    train_*: at the size from which crops are taken. decay_*: at the size of the crops, for the decay phase; the
    reference code crops at random only before that phase. objects_a (N, H, W): where a translation of test_a must have
    an object. background_a (N, H, W): where it must not change test_a. Only drawn tasks have the last two.
    """

    train_a: Picture
    train_b: Picture
    decay_a: Picture
    decay_b: Picture
    test_a: Picture
    test_b: Picture
    objects_a: NDArray[np.bool_] | None = None
    background_a: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class PreparedData:
    """The folder of a data set's cache entry, and the hash of the content it was made from.

    left_out: the files that `data.on_bad=skip` left out, such as 'trainA/1.png'.
    """

    folder: Path
    fingerprint: str
    left_out: tuple[str, ...] = ()


def prepare(config: DataConfig, cache: Path) -> PreparedData:
    """Put the data set into the cache unless it is there. Raises UserError for images that cannot be used."""
    match config:
        case StripesConfig() | PicturesConfig():
            return _prepare_drawn(config, cache)
        case SingleConfig():
            return _prepare_pair(config, cache)
        case FolderConfig() if is_address(config.root):
            return _prepare_at_address(config, cache)
        case FolderConfig():
            return _prepare_folder(config, cache)


def open_dataset(folder: Path) -> Dataset:
    """Open the arrays of a cache entry as memory maps."""
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    return Dataset(**({"decay_a": arrays["train_a"], "decay_b": arrays["train_b"]} | arrays))


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name. Raises UserError if there are fewer than two."""
    if not folder.is_dir():
        raise UserError(f"{printable(folder)}: no such folder. data.root must contain {', '.join(SPLITS)}")
    files = image_files(folder)
    _require_two(folder, files)
    return files


def list_splits(config: FolderConfig) -> dict[str, Path]:
    """Return the image files of all splits by names such as 'trainA/1.png'. Raises UserError for all faulty splits."""
    files: dict[str, Path] = {}
    faults: list[str] = []
    if not (root := Path(config.root)).is_dir():
        fetch = f"Run: just data {config.name}" if config.expected_images else f"It must contain {', '.join(SPLITS)}"
        raise UserError(f"data.root={printable(root)}: no such folder. {fetch}")
    for split in SPLITS:
        with collected(faults):
            files |= {f"{split}/{path.name}": path for path in list_images(root / split)}
    if faults:
        raise UserError(*faults)
    return files


def _require_two(folder: Path, files: Sequence[Path]) -> None:
    if len(files) < 2:
        found = f"{len(files)} images found, at least 2 are needed ({' '.join(sorted(SUFFIXES))})"
        raise UserError(f"{printable(folder)}: {found}")


def _prepare_at_address(config: FolderConfig, cache: Path) -> PreparedData:
    """Copy the images of an address into the cache, and prepare them there. Errors name the address."""
    folder = str(mirror_images(config.root, cache))
    try:
        return _prepare_folder(replace(config, root=folder), cache)
    except UserError as error:
        raise UserError(*(fault.replace(folder, config.root) for fault in error.faults)) from None


def _prepare_folder(config: FolderConfig, cache: Path) -> PreparedData:
    root, files = Path(config.root), list_splits(config)
    memory = cache / "data" / f"{content_key(str(root.absolute()))}.files"
    digests: dict[str, str] = {}
    bad: list[str] = []
    for name, found in file_digests(files, memory).items():
        if isinstance(found, str):
            digests[name] = found
        elif config.on_bad == "stop":
            raise found
        else:
            bad.append(name)
    if config.on_bad == "skip":
        bad += _undecodable({name: files[name] for name in digests}, combined_digest(digests), cache)
    for name in bad:
        digests.pop(name, None)
    by_split = {
        split: [path for name, path in files.items() if path.parent.name == split and name in digests]
        for split in SPLITS
    }
    for split, left in by_split.items():
        _require_two(root / split, left)
    if bad:
        shortened = [*map(printable, sorted(bad)[:SHOWN_NAMES]), *(["…"] if len(bad) > SHOWN_NAMES else [])]
        files_are = "file is" if len(bad) == 1 else "files are"
        print(f"{printable(root)}: {len(bad)} bad {files_are} left out: {', '.join(shortened)}", file=sys.stderr)
    stored = _store(cache, combined_digest(digests), config, lambda folder: _decode_folder(folder, by_split, config))
    return replace(stored, left_out=tuple(sorted(bad)))


def _prepare_pair(config: SingleConfig, cache: Path) -> PreparedData:
    files, digests = find_pair(config), dict[str, str]()
    memory = cache / "data" / f"{content_key(str(Path(config.root).absolute()))}.files"
    for name, found in file_digests(files, memory).items():
        if not isinstance(found, str):
            raise found
        digests[name] = found
    return _store(cache, combined_digest(digests), config, lambda folder: _save(folder, decode_pair(config, files)))


def _undecodable(files: dict[str, Path], fingerprint: str, cache: Path) -> list[str]:
    """Return the names of the files that are no images, from the cache if their contents were looked at before."""

    def make(note: Path) -> None:
        are_images = in_threads(_is_image, list(files.values()), "looking for bad files")
        bad = [name for name, is_image in zip(files, are_images, strict=True) if not is_image]
        note.write_text(json.dumps(bad), encoding="ascii")

    def read(note: Path) -> list[str]:
        try:
            return json.loads(note.read_bytes())
        except ValueError:
            raise DamagedEntryError("the list of bad files is damaged") from None

    return cached(cache / "data" / f"{fingerprint}.bad", make, read)


def _is_image(path: Path) -> bool:
    try:
        read_image(path)
    except UserError:
        return False
    return True


def _draw_stripes(config: StripesConfig) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, (split, count) in enumerate((("train", config.train_count), ("test", config.test_count))):
        for domain, striped, channels in (("a", False, config.channels_a), ("b", True, config.channels_b)):
            pictures = stripes.draw_pictures(count, config.size, 2 * config.drawing_seed + number, striped=striped)
            images = np.stack([with_channels(image, channels) for image in pictures.images])
            arrays[f"{split}_{domain}"] = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
            if (split, domain) == ("test", "a"):
                arrays["background_a"] = pictures.ground
                if config.channels_b == 3:  # stripes are found by their lack of colour
                    arrays["objects_a"] = pictures.blobs
    return arrays


def _decode_folder(folder: Path, files: dict[str, list[Path]], config: FolderConfig) -> None:
    count = sum(len(paths) for paths in files.values())
    print(f"{printable(config.root)}: decoding {count} images, once for this cache", file=sys.stderr)
    for domain, channels in (("A", config.channels_a), ("B", config.channels_b)):
        train, decay, test = (f"{part}_{domain.lower()}" for part in ("train", "decay", "test"))
        sizes = {train: config.load_size} | ({decay: config.size} if config.load_size != config.size else {})
        write_arrays(folder, files[f"train{domain}"], sizes, channels, f"train{domain}")
        write_arrays(folder, files[f"test{domain}"], {test: config.size}, channels, f"test{domain}")


def are_drawn(config: DrawnConfig, cache: Path) -> bool:
    """Return whether the same code has drawn these images before."""
    return _note_of_drawing(config, cache).exists()


def _note_of_drawing(config: DrawnConfig, cache: Path) -> Path:
    code = stripes if isinstance(config, StripesConfig) else drawing
    drawn_from = [_settings_of_entry(config), inspect.getsource(code), np.__version__]
    return cache / "data" / f"{content_key(drawn_from)}.drawn"


def _prepare_drawn(config: DrawnConfig, cache: Path) -> PreparedData:
    """Draw the images, unless the same code has drawn them from the same settings before."""

    def make(note: Path) -> None:
        arrays = _draw_stripes(config) if isinstance(config, StripesConfig) else draw_pair(config)
        fingerprint = combined_digest(
            {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
        )
        stored = _store(cache, fingerprint, config, lambda folder: _save(folder, arrays))
        note.write_text(stored.fingerprint, encoding="ascii")

    def read(note: Path) -> PreparedData:
        fingerprint = note.read_text(encoding="ascii")
        return _read_entry(_entry(cache, fingerprint, config), fingerprint)

    return cached(_note_of_drawing(config, cache), make, read)


def _save(folder: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _store(cache: Path, fingerprint: str, config: DataConfig, fill: Callable[[Path], None]) -> PreparedData:
    """Put the arrays into the cache unless they are in it. fill: writes them into a new folder."""

    def make(folder: Path) -> None:
        folder.mkdir()
        fill(folder)

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
    return {name: value for name, value in asdict(config).items() if name not in NOT_IN_ENTRY}
