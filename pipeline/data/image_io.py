"""Read, resize and write images: gray or colour, 8 or 16 bits per channel, as arrays (H, W, 1 or 3).

Pillow reads and resizes, as in the reference code. OpenCV reads files of 16 bits, since Pillow keeps only 8 of them in
colour images.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from analysis.records.printable import printable
from models.configs.images import LUMA
from pipeline.errors import UserError, first_line
from pipeline.files import replacing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
Picture = NDArray[np.uint8 | np.uint16]

# The values of TIFF tags that are supported with 16 bits.
BLACK_IS_ZERO, RGB, UNSIGNED = 1, 2, 1

SAVE_AS = "Save it as gray or RGB of 8 or 16 unsigned bits"

# OpenCV would print lines about a file. The UserError says the same.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow refuses an image of twice the size from which it warns, and the UserError says so.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name. Hidden ones, such as macOS's ._0.png, are left out."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not is_hidden(path))


def is_hidden(path: Path) -> bool:
    """Return whether the name begins with a dot."""
    return path.name.startswith(".")


def file_status(path: Path) -> os.stat_result:
    """Return the status of a regular file. Raises UserError for anything else: a pipe or a device may have no end."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{printable(path)}: cannot be read (no regular file). Remove it")
    return status


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that the system does not open or read."""
    return UserError(f"{printable(path)}: cannot be read ({error.strerror}). Repair or remove it")


def read_image(path: Path) -> Picture:
    """Read an image, rotated as the file's orientation says and without transparency.

    Raises UserError for a file that cannot be read as an image.
    """
    with _opened(path) as image:
        deep = _is_16_bit(path, image)
        # Also for 16 bits: Pillow raises one error for a damaged file, while OpenCV's decoders print lines.
        image.load()
        if deep:
            return _read_16_bits(path, image)
        gray = image.mode in ("1", "L", "LA")
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("L" if gray else "RGB"))
        return pixels.reshape(*pixels.shape[:2], -1)


def has_16_bits(path: Path) -> bool:
    """Return whether `read_image` gives 16 bits. Reads only the file's header; raises UserError as `read_image`."""
    with _opened(path) as image:
        return _is_16_bit(path, image)


def with_channels(picture: Picture, count: int) -> Picture:
    """Repeat gray to three channels, or turn colours into gray."""
    if picture.shape[2] == count:
        return picture
    if count == 3:
        return np.repeat(picture, 3, axis=2)
    return np.rint(picture @ np.array(LUMA))[..., None].astype(picture.dtype)


def to_16_bits(picture: Picture) -> Picture:
    """Convert 8 bits exactly to 16 bits: 255 becomes 65535."""
    return picture.astype(np.uint16) * np.uint16(257) if picture.dtype == np.uint8 else picture


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize to (height, width) with Pillow's bicubic filter, which is antialiased."""
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
    """Write the picture atomically, with its channels and bits."""
    _, encoded = cv2.imencode(".png", picture[..., ::-1])
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file. Everything that the body raises becomes a UserError with the file's name."""
    file_status(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UserError:
        raise
    except Exception as error:  # decoders of many formats raise many kinds
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(FORMATS)}" if unknown else printable(first_line(error))
        raise UserError(f"{printable(path)}: cannot be read as an image ({reason}). Repair or remove it") from None


def _is_16_bit(path: Path, image: Image.Image) -> bool:
    """Return whether a channel has 16 bits.

    Raises UserError for several pictures in one file, and for a format without fixed values of black and white.
    """
    # Cameras add previews to a JPEG, whose format Pillow then calls MPO. The first picture is the one that is meant.
    if image.format != "MPO" and (pages := getattr(image, "n_frames", 1)) > 1:
        raise UserError(f"{printable(path)}: has {pages} pages. Save each one in its own file")
    if image.format == "PNG":
        # A PNG begins with signature, then length, name, width and height of the first chunk, then the depth.
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    if not isinstance(image, TiffImageFile):
        return False
    tags = image.tag_v2
    bits, formats = set(tags.get(BITSPERSAMPLE, (1,))), set(tags.get(SAMPLEFORMAT, (UNSIGNED,)))
    if formats != {UNSIGNED} or not (bits <= {1, 2, 4, 8} or bits == {16}):
        found = f"{'- or '.join(map(str, sorted(bits)))}-bit"
        raise UserError(f"{printable(path)}: {found} or signed values are not supported. {SAVE_AS}")
    if bits == {16} and tags.get(PHOTOMETRIC_INTERPRETATION) not in (BLACK_IS_ZERO, RGB):
        raise UserError(f"{printable(path)}: 16 bits, but neither gray with black at zero nor RGB. {SAVE_AS}")
    return bits == {16}


def _read_16_bits(path: Path, image: Image.Image) -> Picture:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UserError(f"{printable(path)}: its 16 bits cannot be read. {SAVE_AS}, uncompressed or LZW")
    deep = pixels.astype(np.uint16, copy=False)
    # OpenCV's channels are blue, green, red and perhaps alpha.
    deep = deep[..., None] if deep.ndim == 2 else deep[..., 2::-1]
    # OpenCV has turned a TIFF already.
    return deep if isinstance(image, TiffImageFile) else _turned(deep, image.getexif().get(ExifTags.Base.Orientation))


def _turned(pixels: Picture, orientation: object) -> Picture:
    """Return the picture as it is to be seen, from its orientation in EXIF (1 to 8; others mean 1)."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels
