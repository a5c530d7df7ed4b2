from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.data.image_io import read_image, resize, to_16_bits, with_channels, write_png
from pipeline.errors import UserError


def picture(channels: int, dtype: type[np.uint8] | type[np.uint16], size: tuple[int, int] = (5, 7)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (*size, channels), dtype=dtype)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_written_is_read_in_its_channels_and_bits(
    tmp_path: Path, channels: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    written = picture(channels, dtype)
    write_png(tmp_path / "a.png", written)
    read = read_image(tmp_path / "a.png")
    assert read.dtype == dtype
    assert np.array_equal(read, written)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_of_tiff_are_kept(tmp_path: Path, channels: int) -> None:
    written = picture(channels, np.uint16)
    cv2.imwrite(str(tmp_path / "a.tif"), written[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "a.tif"), written)


def test_a_png_of_pillow_in_16_bits_is_read_as_pillow_wrote_it(tmp_path: Path) -> None:
    written = picture(1, np.uint16)
    Image.fromarray(written[..., 0]).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), written)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_other_kinds_of_files_become_gray_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.fromarray(picture(3, np.uint8)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert np.array_equal(
        read_image(path), np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(5, 7, channels)
    )


def test_transparency_of_16_bits_is_dropped(tmp_path: Path) -> None:
    written = picture(4, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), written[..., [2, 1, 0, 3]])
    assert np.array_equal(read_image(tmp_path / "a.png"), written[..., :3])


def save_floats(path: Path) -> None:
    Image.fromarray(np.ones((5, 7), dtype=np.float32)).save(path)


def save_32_bits(path: Path) -> None:
    Image.fromarray(np.ones((5, 7), dtype=np.int32)).save(path)


def save_pages(path: Path) -> None:
    pages = [Image.fromarray(picture(3, np.uint8)) for _ in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def save_12_bits(path: Path) -> None:
    save_16_bit_tiff(path, {258: 12})


def save_white_at_zero(path: Path) -> None:
    save_16_bit_tiff(path, {262: 0})


def save_16_bit_tiff(path: Path, changed: dict[int, int]) -> None:
    """A gray picture whose tags of one short value are then changed in the file."""
    Image.fromarray(picture(1, np.uint16)[..., 0]).save(path)
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little")
    for entry in range(int.from_bytes(content[start : start + 2], "little")):
        place = start + 2 + 12 * entry
        if (tag := int.from_bytes(content[place : place + 2], "little")) in changed:
            content[place + 8 : place + 10] = changed[tag].to_bytes(2, "little")
    path.write_bytes(content)


def save_jpeg_2000(path: Path) -> None:
    Image.fromarray(picture(1, np.uint16, (40, 40))[..., 0]).save(path, format="JPEG2000")


def save_zstd(path: Path) -> None:
    Image.fromarray(picture(1, np.uint16, (40, 40))[..., 0]).save(path, compression="zstd")


def save_half(path: Path) -> None:
    write_png(path.with_suffix(".png"), picture(3, np.uint16, (40, 40)))
    path.write_bytes(path.with_suffix(".png").read_bytes()[:900])


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (save_floats, "32-bit or signed values are not supported. Save it as gray or RGB"),
        (save_32_bits, "32-bit or signed values are not supported"),
        (save_12_bits, "12-bit or signed values are not supported"),
        (save_white_at_zero, "16 bits, but neither gray with black at zero nor RGB"),
        (save_jpeg_2000, "cannot be read as an image"),
        (save_pages, "has 3 pages"),
        (save_zstd, "its 16 bits cannot be read"),
        (save_half, "cannot be read as an image"),
        (lambda path: path.write_text("no picture"), "cannot be read as an image"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cannot be read as an image"),
    ],
)
def test_files_without_a_picture_of_known_range_are_refused(tmp_path: Path, save, said: str) -> None:
    path = tmp_path / "a.tif"
    save(path)
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gray_values_are_pillows_to_the_rounding() -> None:
    coloured = picture(3, np.uint8, (40, 40))
    expected = np.asarray(Image.fromarray(coloured).convert("L")).astype(int)
    assert np.abs(with_channels(coloured, 1)[..., 0].astype(int) - expected).max() <= 1
    assert np.array_equal(with_channels(expected[..., None].astype(np.uint8), 3)[..., 2], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_resized_as_8_bits_are(channels: int) -> None:
    shallow = picture(channels, np.uint8, (40, 30))
    expected = resize(shallow, (20, 24)).astype(float)
    deep = resize(to_16_bits(shallow), (20, 24))
    assert deep.dtype == np.uint16
    assert deep.shape == (20, 24, channels)
    assert np.abs(deep / 257 - expected).max() <= 1
