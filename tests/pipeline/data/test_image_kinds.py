"""Every kind of file that is found in folders of images: used as it should be, or refused before training by name."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from analysis.records.printable import printable
from pipeline.config.schema import FolderConfig
from pipeline.data.dataset_cache import SPLITS, open_dataset, prepare
from pipeline.data.image_io import image_files, read_image, write_png
from pipeline.errors import UserError

Save = Callable[[Path], object]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
COLOURED = Image.fromarray(PIXELS)
DEEP = PIXELS.astype(np.uint16) * 257 + 1
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def transparent_palette() -> Image.Image:
    image = COLOURED.quantize(16)
    image.info["transparency"] = 3
    return image


def save_animated(path: Path, kind: str) -> None:
    COLOURED.save(path, kind, save_all=True, append_images=[COLOURED.rotate(90)])


def save_bomb(path: Path) -> None:
    """A file of few bytes that would be 400 million pixels."""
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


# What is used, and the pixels that are read.
USED: dict[str, tuple[Save, np.ndarray]] = {
    "RGB": (lambda path: COLOURED.save(path, "PNG"), PIXELS),
    "contents of another format": (lambda path: COLOURED.save(path, "TIFF"), PIXELS),
    "BMP": (lambda path: COLOURED.save(path, "BMP"), PIXELS),
    "WebP": (lambda path: COLOURED.save(path, "WEBP", lossless=True), PIXELS),
    "CMYK": (lambda path: COLOURED.convert("CMYK").save(path, "TIFF"), rgb(COLOURED.convert("CMYK"))),
    "palette with transparency": (lambda path: transparent_palette().save(path, "PNG"), rgb(transparent_palette())),
    "RGBA": (lambda path: Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])).save(path, "PNG"), PIXELS),
    "1 bit": (
        lambda path: COLOURED.convert("1").save(path, "PNG"),
        np.asarray(COLOURED.convert("1").convert("L"))[..., None],
    ),
    "16 bits": (lambda path: write_png(path, DEEP), DEEP),
    "ICC profile": (lambda path: COLOURED.save(path, "PNG", icc_profile=SRGB), PIXELS),
    "1 x 1": (lambda path: COLOURED.crop((0, 0, 1, 1)).save(path, "PNG"), PIXELS[:1, :1]),
    "20,000 x 10": (lambda path: Image.new("L", (20_000, 10), 7).save(path, "PNG"), np.full((10, 20_000, 1), 7)),
    "a camera's picture with a preview": (lambda path: COLOURED.resize((8, 8)).save(path, "MPO", save_all=True,
        append_images=[COLOURED.resize((4, 4))]), np.zeros((8, 8, 3))),
}  # fmt: skip

# What is refused, and what the error says behind the file's name.
REFUSED: dict[str, tuple[Save, str]] = {
    "zero bytes": (lambda path: path.touch(), "cannot be read as an image"),
    "text": (lambda path: path.write_text("no picture\n"), "it is none of PNG, JPEG, BMP, WEBP, TIFF"),
    "half a JPEG": (
        lambda path: (COLOURED.save(path, "JPEG"), os.truncate(path, path.stat().st_size // 2)),
        "cannot be read as an image",
    ),
    "half a PNG of 16 bits": (
        lambda path: (write_png(path, DEEP), os.truncate(path, path.stat().st_size // 2)),
        "cannot be read as an image",
    ),
    "floats": (
        lambda path: Image.fromarray(np.ones((5, 7), np.float32)).save(path, "TIFF"),
        "32-bit or signed values are not supported",
    ),
    "pages": (lambda path: save_animated(path, "TIFF"), "has 2 pages. Save each one in its own file"),
    "animated PNG": (lambda path: save_animated(path, "PNG"), "has 2 pages"),
    "animated WebP": (lambda path: save_animated(path, "WEBP"), "has 2 pages"),
    "animated GIF": (lambda path: save_animated(path, "GIF"), "it is none of PNG, JPEG, BMP, WEBP, TIFF"),
    "decompression bomb": (save_bomb, "cannot be read as an image"),
    "pipe": (os.mkfifo, "cannot be read (no regular file)"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "cannot be read (no regular file)"),
    "folder": (lambda path: path.mkdir(), "cannot be read (no regular file)"),
    "broken link": (lambda path: path.symlink_to(path.with_name("nowhere")), "cannot be read (No such file"),
    "circular link": (lambda path: path.symlink_to(path), "cannot be read (Too many levels of symbolic links)"),
}


@pytest.mark.parametrize("kind", USED)
def test_used_as_it_is_seen(tmp_path: Path, kind: str) -> None:
    save, expected = USED[kind]
    save(tmp_path / "x.png")
    found = read_image(tmp_path / "x.png")
    assert found.shape == expected.shape
    assert "preview" in kind or np.array_equal(found, expected)


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name_before_training(data: FolderConfig, tmp_path: Path, kind: str) -> None:
    save, said = REFUSED[kind]
    path = Path(data.root) / "testB/x.png"
    save(path)
    for act in (lambda: read_image(path), lambda: prepare(data, tmp_path / "cache")):
        with pytest.raises(UserError) as caught:
            act()
        assert str(caught.value).startswith(f"{path}: ")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_the_system_cannot_read_is_refused_by_name(data: FolderConfig, tmp_path: Path) -> None:
    path = Path(data.root) / "testB/x.png"
    path.symlink_to("/proc/self/mem")  # a regular file, but its first byte cannot be read
    for act in (lambda: read_image(path), lambda: prepare(data, tmp_path / "cache")):
        with pytest.raises(UserError) as caught:
            act()
        assert str(caught.value).startswith(f"{path}: cannot be read")
        assert "Input/output error" in str(caught.value)


@pytest.fixture
def data(tmp_path: Path) -> FolderConfig:
    """A folder with two images in each split."""
    for split in SPLITS:
        (tmp_path / split).mkdir()
        for name in ("a.png", "b.png"):
            COLOURED.save(tmp_path / split / name)
    return FolderConfig("folder", "mine", str(tmp_path), load_size=(16, 16), size=(16, 16), channels_a=3, channels_b=3)


def test_what_is_no_image_by_its_name_and_what_is_hidden_is_ignored(data: FolderConfig, tmp_path: Path) -> None:
    before = prepare(data, tmp_path / "cache")
    for name in ("readme.txt", "thumbs.db", "list", "moving.gif", "._a.png", ".DS_Store", ".png", ".hidden.jpg"):
        (tmp_path / "trainA" / name).write_bytes(b"\0\5\x16\7")
    assert prepare(data, tmp_path / "cache") == before


NAMES = [
    b"with space.png",
    b"quote'and\"quote.png",
    b"two\nlines.png",
    "猫 кот γάτα قط.png".encode(),
    b"caf\xe9.png",
    b"-option=$(x);`y`.png",
    b"\x1b[31mred.png",
    b"UPPER.JPEG",
    b"n" * 251 + b".png",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_a_disk_takes_is_used(data: FolderConfig, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "trainA" / os.fsdecode(name)
    COLOURED.rotate(180).save(path, "PNG")
    before = len(image_files(tmp_path / "trainB"))
    prepared = prepare(data, tmp_path / "cache")
    assert len(open_dataset(prepared.folder).train_a) == before + 1
    path.rename(tmp_path / "trainA/other.png")
    assert prepare(data, tmp_path / "cache").fingerprint != prepared.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_printed_in_one_line_of_plain_characters(data: FolderConfig, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "trainA" / os.fsdecode(name)
    path.write_bytes(b"no picture")
    for act in (lambda: read_image(path), lambda: prepare(data, tmp_path / "cache")):
        with pytest.raises(UserError) as caught:
            act()
        assert str(caught.value).startswith(f"{printable(path)}: ")
        assert str(caught.value).isprintable()
        str(caught.value).encode()


def test_bytes_and_control_characters_are_shown_by_their_codes() -> None:
    assert printable(Path(os.fsdecode(b"caf\xe9.png"))) == r"caf\xe9.png"
    assert printable("a\nb\x1b.png") == r"a\nb\x1b.png"
    assert printable("\ud800\u2028") == r"\ud800\u2028"
    assert printable("猫 кот'\".png") == "猫 кот'\".png"


def test_two_names_that_differ_in_bytes_alone_are_two_images(data: FolderConfig, tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", "café.png".encode(), b"caf\xe8.png"):
        cv2.imwrite(str(tmp_path / "x.png"), PIXELS)
        (tmp_path / "x.png").rename(tmp_path / "trainA" / os.fsdecode(name))
    assert len(open_dataset(prepare(data, tmp_path / "cache").folder).train_a) == 5
