"""Decode image files into arrays (N, channels, H, W), several at once, never all of them in memory.

Arrays have 8 bits, or 16 if one of their files has 16.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from analysis.records.printable import printable
from pipeline.data.image_io import Picture, has_16_bits, read_image, resize, to_16_bits, with_channels
from pipeline.data.in_threads import in_threads
from pipeline.errors import UserError

Size = tuple[int, int]


def decode(files: Sequence[Path], size: Size, channels: int, *, resizing: bool = True) -> Picture:
    """Return the images in memory, resized to one size.

    Raises UserError for a file that cannot be read, and without `resizing` for one of another size.
    """
    required = None if resizing else size
    dtype = _common_dtype(files, "images")
    images = np.empty((len(files), channels, *size), dtype)
    for number, (image,) in enumerate(_pictures(files, [size], channels, dtype, "images", required)):
        images[number] = image
    return images


def write_arrays(folder: Path, files: Sequence[Path], sizes: Mapping[str, Size], channels: int, title: str) -> None:
    """Write an array of the images for each of the named sizes to folder/NAME.npy. Each file is decoded once.

    Written in order and not through a memory map: a full disk is then an OSError, and a map's a SIGBUS.
    """
    dtype = _common_dtype(files, title)
    with ExitStack() as stack:
        arrays = [stack.enter_context((folder / f"{name}.npy").open("wb")) for name in sizes]
        for array, size in zip(arrays, sizes.values(), strict=True):
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(array, header | {"shape": (len(files), channels, *size)})
        for pictures in _pictures(files, list(sizes.values()), channels, dtype, title):
            for array, picture in zip(arrays, pictures, strict=True):
                array.write(picture.tobytes())


def _common_dtype(files: Sequence[Path], title: str) -> np.dtype[np.uint8 | np.uint16]:
    """Return the type for all images. Reads all headers, so that what is no image is found at once."""
    deep = list(in_threads(has_16_bits, files, f"{title}: reading headers"))
    return np.dtype(np.uint16 if any(deep) else np.uint8)


def _pictures(
    files: Sequence[Path],
    sizes: Sequence[Size],
    channels: int,
    dtype: np.dtype[np.uint8 | np.uint16],
    title: str,
    required: Size | None = None,
) -> Iterator[list[Picture]]:
    """Yield each image, (channels, H, W), at all sizes. required: the size that each file must have."""

    def read(path: Path) -> list[Picture]:
        picture = read_image(path)
        if required and picture.shape[:2] != required:
            found, wanted = (f"{height} x {width}" for height, width in (picture.shape[:2], required))
            raise UserError(
                f"{printable(path)}: {found} pixels, but the task's images have {wanted}. resize=yes resizes with "
                "Pillow's bicubic filter, which changes the distances"
            )
        picture = with_channels(picture, channels)
        resized = [resize(picture, size) for size in sizes]
        return [(image if image.dtype == dtype else to_16_bits(image)).transpose(2, 0, 1) for image in resized]

    return in_threads(read, files, f"{title}: decoding")
