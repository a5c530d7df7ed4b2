"""Image files in and out: gray or coloured, 8 or 16 bits a channel, as arrays (H, W, 1 or 3) of uint8 or uint16.

Pillow reads and resizes, as the protocol asks; OpenCV takes over where a file has 16 bits, of which Pillow keeps
eight when there is colour.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.images import LUMA
from pipeline.errors import UserError, first_line
from pipeline.files import replacing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
Picture = NDArray[np.uint8 | np.uint16]

# TIFF's tags, and the values of them that are understood in 16 bits.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
BLACK_IS_ZERO, RGB, UNSIGNED = 1, 2, 1

SAVE_AS = "save it as gray or RGB of 8 or 16 unsigned bits"

# What it would print about a file, the error here says.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_image(path: Path) -> Picture:
    """The picture as one looks at it, turned as the file says; transparency is dropped.

    Raises UserError for what is no such picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            deep = _is_16_bit(path, image)
            # Pillow says what is torn in one error; OpenCV's decoders print lines of their own.
            image.load()
            if deep:
                return _read_16_bits(path)
            gray = image.mode in ("1", "L", "LA")
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("L" if gray else "RGB"))
    except UserError:
        raise
    except Exception as error:  # decoders of many formats raise many kinds
        raise UserError(f"{path}: cannot be read as an image ({first_line(error)}); repair or remove it") from None
    return pixels.reshape(*pixels.shape[:2], -1)


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
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


def _is_16_bit(path: Path, image: Image.Image) -> bool:
    """Whether a channel has 16 bits; fewer are Pillow's. Raises UserError for what has no fixed black and white."""
    match image.format:
        case "PNG":
            # The head of every PNG: signature, then the first chunk's length, name, width and height, then the depth.
            with path.open("rb") as file:
                return file.read(25)[24] == 16
        case "TIFF":
            return _is_16_bit_tiff(path, image.tag_v2, getattr(image, "n_frames", 1))  # type: ignore[attr-defined]
        case _:
            return False


def _is_16_bit_tiff(path: Path, tags: Mapping[int, Any], pages: int) -> bool:
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages; give each a file of its own")
    bits, formats = set(tags.get(BITS_PER_SAMPLE, (1,))), set(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    if formats != {UNSIGNED} or not (bits <= {1, 2, 4, 8} or bits == {16}):
        found = f"{'- or '.join(map(str, sorted(bits)))}-bit"
        raise UserError(f"{path}: {found} or signed values have no white that is understood; {SAVE_AS}")
    if bits == {16} and tags.get(PHOTOMETRIC) not in (BLACK_IS_ZERO, RGB):
        raise UserError(f"{path}: 16 bits, but neither gray with black at zero nor RGB; {SAVE_AS}")
    return bits == {16}


def _read_16_bits(path: Path) -> Picture:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UserError(f"{path}: its 16 bits cannot be read; {SAVE_AS}, uncompressed or LZW")
    deep = pixels.astype(np.uint16, copy=False)
    # OpenCV's channels are blue, green, red and, if there is transparency, that.
    return deep[..., None] if deep.ndim == 2 else deep[..., 2::-1]
