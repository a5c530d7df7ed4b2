"""Pictures are turned once, as their file says: each orientation of EXIF, each depth, each format."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.data.image_io import read_image

HEIGHT, WIDTH = 32, 48
# From the EXIF standard: which row and column of what is seen the file's row r and column c hold.
STORED: dict[int, Callable[[int, int], tuple[int, int]]] = {
    1: lambda r, c: (r, c),  # the first row is the top, the first column is the left side
    2: lambda r, c: (r, WIDTH - 1 - c),  # top, right
    3: lambda r, c: (HEIGHT - 1 - r, WIDTH - 1 - c),  # bottom, right
    4: lambda r, c: (HEIGHT - 1 - r, c),  # bottom, left
    5: lambda r, c: (c, r),  # left, top
    6: lambda r, c: (c, WIDTH - 1 - r),  # right, top
    7: lambda r, c: (HEIGHT - 1 - c, WIDTH - 1 - r),  # right, bottom
    8: lambda r, c: (HEIGHT - 1 - c, r),  # left, bottom
}


def stored(seen: np.ndarray, orientation: int) -> np.ndarray:
    size = (HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT)
    rows, columns = np.vectorize(STORED[orientation])(*np.indices(size))
    return seen[rows, columns]


def encoded(suffix: str, pixels: np.ndarray, orientation: int) -> bytes:
    _, coded = cv2.imencode(suffix, pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    content = coded.tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    match suffix:
        case ".png":
            chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
            chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
            return content[:33] + chunk + content[33:]
        case ".jpg":
            return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif.tobytes()) + 2) + exif.tobytes() + content[2:]
        case _:
            return with_tag(content, ExifTags.Base.Orientation, orientation)


def with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """The TIFF file with one more tag, or another value of it: a new directory at the end."""
    (start,) = struct.unpack("<I", tiff[4:8])
    (count,) = struct.unpack("<H", tiff[start : start + 2])
    entries = [tiff[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    others = [entry for entry in entries if struct.unpack("<H", entry[:2]) != (tag,)]
    entries = sorted([*others, struct.pack("<HHIHH", tag, 3, 1, value, 0)], key=lambda e: struct.unpack("<H", e[:2]))
    tiff += b"\0" * (len(tiff) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", np.uint8), (".jpg", np.uint8), (".tif", np.uint8), (".png", np.uint16), (".tif", np.uint16)],
)
def test_a_picture_is_turned_once_as_its_file_says(
    tmp_path: Path, suffix: str, dtype: type[np.uint8] | type[np.uint16], channels: int, orientation: int
) -> None:
    blocks = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (2, 3, channels), dtype=dtype)
    seen = np.kron(blocks, np.ones((16, 16, 1), dtype))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, stored(seen, orientation), orientation))
    found = read_image(path)
    assert (found.dtype, found.shape) == (seen.dtype, seen.shape)
    if suffix == ".jpg":  # keeps the middles of blocks, nearly
        assert np.abs(found[8::16, 8::16].astype(int) - blocks).max() <= 3
    else:
        assert np.array_equal(found, seen)
