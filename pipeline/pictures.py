"""Image files in and out: gray or coloured, 8 or 16 bits a channel, as arrays (H, W, 1 or 3) of uint8 or uint16.

Pillow reads and resizes, as the protocol asks; OpenCV takes over where a file has 16 bits, of which Pillow keeps
eight when there is colour.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.images import LUMA
from pipeline.errors import UserError, first_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
Picture = NDArray[np.uint8 | np.uint16]

# TIFF's tags, and what they say where they are absent.
BITS_PER_SAMPLE, SAMPLE_FORMAT, UNSIGNED = 258, 339, 1


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_image(path: Path) -> Picture:
    """The picture as the file has it; transparency is dropped. Raises UserError for what is no such picture."""
    try:
        with Image.open(path) as image:
            if _bits(path, image) == 16:
                # Pillow says what is torn in one error; OpenCV's decoders print lines of their own.
                image.load()
                return _read_16_bits(path)
            gray = image.mode in ("1", "L", "LA")
            pixels = np.asarray(image.convert("L" if gray else "RGB"))
    except UserError:
        raise
    except Exception as error:  # decoders of many formats raise many kinds
        raise UserError(f"{path}: cannot be read as an image ({first_line(error)}); repair or remove it") from None
    return pixels.reshape(*pixels.shape[:2], -1)


def is_16_bit(path: Path) -> bool:
    """Whether a channel has 16 bits, by the file's head alone; False for what is no picture."""
    try:
        with Image.open(path) as image:
            return _bits(path, image) == 16
    except OSError:
        return False


def with_channels(picture: Picture, count: int) -> Picture:
    """Gray repeated to three channels, or colours weighed to one."""
    if picture.shape[2] == count:
        return picture
    if count == 3:
        return np.repeat(picture, 3, axis=2)
    return np.rint(picture @ np.array(LUMA))[..., None].astype(picture.dtype)


def to_16_bits(picture: Picture) -> Picture:
    """The same picture in 16 bits, exactly: 255 becomes 65535."""
    return picture.astype(np.uint16) * np.uint16(257) if picture.dtype == np.uint8 else picture


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """To (height, width) by Pillow's bicubic filter, which widens as it shrinks (the protocol's)."""
    if picture.shape[:2] == size:
        return picture
    height, width = size
    if picture.dtype == np.uint8:
        image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(picture, 2, 0)]
    resized = [np.asarray(channel.resize((width, height), Image.Resampling.BICUBIC)) for channel in channels]
    return np.rint(np.stack(resized, axis=2)).clip(0, 65535).astype(np.uint16)


def write_png(path: Path, picture: Picture) -> None:
    """Write the picture with its channels and bits, whole or not at all."""
    _, encoded = cv2.imencode(".png", picture[..., ::-1])
    partial = path.with_suffix(".partial")
    partial.write_bytes(encoded.tobytes())
    os.replace(partial, path)  # noqa: PTH105 (the same)


def _bits(path: Path, image: Image.Image) -> int:
    """Bits of a channel. Raises UserError where a value has no fixed range."""
    match image.format:
        case "PNG":
            # The head of every PNG: signature, then the first chunk's length, name, width and height, then the depth.
            with path.open("rb") as file:
                return file.read(25)[24]
        case "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            if getattr(image, "n_frames", 1) > 1:
                raise UserError(f"{path}: holds {image.n_frames} pages; give each a file of its own")  # type: ignore[attr-defined]
            bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
            if set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED} or bits > 16:
                raise UserError(f"{path}: {bits}-bit or signed values have no fixed white; save 8 or 16 unsigned bits")
            return bits
        case _:
            return 8


def _read_16_bits(path: Path) -> Picture:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UserError(f"{path}: its 16 bits cannot be read; repair or remove it")
    deep = pixels.astype(np.uint16, copy=False)
    # OpenCV's channels are blue, green, red and, if there is transparency, that.
    return deep[..., None] if deep.ndim == 2 else deep[..., 2::-1]
