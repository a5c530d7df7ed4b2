"""Whatever bytes a file has, reading it as an image gives a picture or the project's own error."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FEW, MANY, damaged
from PIL import Image

from pipeline.data.image_io import has_16_bits, read_image
from pipeline.errors import UserError

# Pillow warns of damage before it refuses.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def saved(kind: str, image: Image.Image, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def deep(suffix: str) -> bytes:
    return cv2.imencode(suffix, PIXELS.astype(np.uint16) * 257)[1].tobytes()


COLOURED, GRAY = Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., 0])
WHOLE = [
    *(saved(kind, image) for kind in ("PNG", "JPEG", "TIFF", "WEBP") for image in (COLOURED, GRAY)),
    *(saved("TIFF", COLOURED, compression=compression) for compression in ("tiff_lzw", "jpeg", "packbits")),
    *(saved("PNG", image) for image in (COLOURED.quantize(4), COLOURED.convert("1"), COLOURED.convert("RGBA"))),
    deep(".png"),
    deep(".tif"),
    cv2.imencode(".bmp", PIXELS)[1].tobytes(),
]


def with_checksums(content: bytes) -> bytes:
    """A PNG whose checksums fit its damaged chunks, so that decoders read on."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    mended, at = bytearray(content), 8
    while at + 12 <= len(mended):
        (length,) = struct.unpack(">I", mended[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


FILES = st.one_of(st.binary(max_size=300), damaged(WHOLE), damaged(WHOLE).map(with_checksums))


def reads_or_refuses(folder: Path, content: bytes) -> None:
    path = folder / "x.png"
    path.write_bytes(content)
    for read in (read_image, has_16_bits):
        try:
            found = read(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert str(error).isprintable()
        else:
            assert isinstance(found, bool) or (found.ndim == 3 and found.shape[2] in (1, 3))


@pytest.mark.parametrize("content", WHOLE)
def test_the_undamaged_files_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert read_image(tmp_path / "x.png").size > 0


@FEW
@given(content=FILES)
def test_any_bytes_are_a_picture_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    reads_or_refuses(tmp_path_factory.getbasetemp(), content)


@pytest.mark.slow
@MANY
@given(content=FILES)
def test_a_thousand_files_are_pictures_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    reads_or_refuses(tmp_path_factory.getbasetemp(), content)
