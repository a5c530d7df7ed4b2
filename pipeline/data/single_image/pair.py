"""The two images of a task with one image for each domain: found in a folder, decoded, or drawn."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.records.printable import printable
from pipeline.config.single_image.settings import PicturesConfig, SingleConfig
from pipeline.data.image_io import SUFFIXES, Picture, has_16_bits, image_files, read_image, with_channels
from pipeline.data.single_image.drawing import draw_picture
from pipeline.errors import UserError, collected

# Where SinCUT's released code reads, also to test.
PARTS = ("trainA", "trainB")
# The generators halve sides twice at most.
SIDE_FACTOR = 4


def find_pair(config: SingleConfig) -> dict[str, Path]:
    """Return the two image files by names such as 'trainA/1.png'. Raises UserError for both folders."""
    root, files, faults = Path(config.root), dict[str, Path](), list[str]()
    if not root.is_dir():
        raise UserError(f"data.root={printable(root)}: no such folder. It must contain {' and '.join(PARTS)}")
    for part in PARTS:
        with collected(faults):
            file = _only_image(root / part)
            files[f"{part}/{file.name}"] = file
    if faults:
        raise UserError(*faults)
    return files


def _only_image(folder: Path) -> Path:
    found = image_files(folder) if folder.is_dir() else []
    if len(found) != 1:
        formats = " ".join(sorted(SUFFIXES))
        raise UserError(
            f"{printable(folder)}: {len(found)} images found, and exactly 1 is needed ({formats}). Leave one there, or "
            "use a task for many images, such as task=folder"
        )
    return found[0]


def decode_pair(config: SingleConfig, files: dict[str, Path]) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a data set. Raises UserError for an image of 16 bits, or one that is smaller than a crop."""
    pictures: list[Picture] = []
    for file, channels in zip(files.values(), (config.channels_a, config.channels_b), strict=True):
        if has_16_bits(file):
            raise UserError(f"{printable(file)}: 16 bits, but crops are taken of 8 bits. Save it with 8 bits")
        picture = read_image(file)
        sizes = zip(picture.shape[:2], config.size, strict=True)
        if any(side < crop for side, crop in sizes):
            (height, width), (least_height, least_width) = picture.shape[:2], config.size
            raise UserError(
                f"{printable(file)}: {height} x {width} pixels, but a crop has {least_height} x {least_width}. Give a "
                "larger image, or lower data.size"
            )
        pictures.append(with_channels(picture, channels))
    return arrays_of(*pictures)


def draw_pair(config: PicturesConfig) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a data set of drawn pictures."""
    domains = (False, config.channels_a), (True, config.channels_b)
    return arrays_of(
        *(
            with_channels(draw_picture(config.image_size, config.drawing_seed, painted=painted), channels)
            for painted, channels in domains
        )
    )


def arrays_of(a: Picture, b: Picture) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a data set of two images (H, W, channels): whole for training, and for the test."""
    return {
        f"{part}_{domain}": np.ascontiguousarray(np.moveaxis(shown, 2, 0)[None])
        for domain, picture in (("a", a), ("b", b))
        for part, shown in (("train", picture), ("test", in_multiples_of_4(picture)))
    }


def in_multiples_of_4(picture: Picture) -> Picture:
    """Return the picture (H, W, channels) with each side rounded to a multiple of 4, by Pillow's bilinear filter."""
    height, width = (SIDE_FACTOR * round(side / SIDE_FACTOR) for side in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
