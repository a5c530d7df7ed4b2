import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.configs.networks import GeneratorConfig
from models.images import to_bits, to_model_range
from models.networks.generator import Generator
from pipeline.data.image_io import read_image, write_png
from pipeline.errors import UserError
from pipeline.inference.translate import plan_files, translate_files, translate_picture

CPU = torch.device("cpu")


def picture(height: int, width: int, channels: int, dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> np.ndarray:
    return np.random.default_rng(height).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def translated(generator: Generator, source: Path, target: Path) -> list[Path]:
    return list(translate_files(generator, plan_files(source, target), CPU))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(1, 1), (3, 3), (1, 3)])
def test_names_sizes_and_bits_are_kept(
    tmp_path: Path, channels: tuple[int, int], dtype: type[np.uint8] | type[np.uint16]
) -> None:
    sizes = {"one.two.png": (16, 24), "odd.png": (17, 23), "least.png": (8, 9)}
    for name, size in sizes.items():
        write_png(tmp_path / name, picture(*size, channels[0], dtype))
    written = translated(Generator(GeneratorConfig(4, 1), *channels), tmp_path, tmp_path / "out/deep")
    assert sorted(path.name for path in written) == sorted(sizes)
    for path in written:
        found = read_image(path)
        assert found.shape == (*sizes[path.name], channels[1])
        assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_picture_is_what_the_generator_makes_of_it(dtype: torch.dtype) -> None:
    generator = Generator(GeneratorConfig(4, 1))
    source = picture(16, 24, 3, np.uint8 if dtype == torch.uint8 else np.uint16)
    image = to_model_range(torch.from_numpy(source).permute(2, 0, 1))[None]
    expected = to_bits(generator.translate(image)[0], dtype).permute(1, 2, 0).numpy()
    assert np.array_equal(translate_picture(generator, source, CPU), expected)


def test_deep_pictures_have_more_levels_than_shallow_ones() -> None:
    generator = Generator(GeneratorConfig(4, 1), 1, 1)
    found = translate_picture(generator, picture(32, 32, 1, np.uint16), CPU)
    assert len(np.unique(found)) > 256


def test_gray_files_and_coloured_ones_are_what_the_generator_takes() -> None:
    coloured, gray = Generator(GeneratorConfig(4, 1), 3, 3), Generator(GeneratorConfig(4, 1), 1, 1)
    assert translate_picture(coloured, picture(8, 8, 1), CPU).shape == (8, 8, 3)
    assert translate_picture(gray, picture(8, 8, 3), CPU).shape == (8, 8, 1)


def test_a_single_file_goes_to_a_name_or_into_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "a.bmp"
    source.touch()
    assert plan_files(source, tmp_path / "b.png") == {source: tmp_path / "b.png"}
    assert plan_files(source, tmp_path / "out") == {source: tmp_path / "out/a.png"}


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nowhere", "out", "nowhere: no such file or folder"),
        ("empty", "out", "empty: no images in it"),
        ("twins", "out", "becomes out/a.png, and so does a.jpg"),
        ("good", "good", "good/a.png: is an input and would be overwritten"),
        ("good/a.png", "good/a.png", "good/a.png: is an input and would be overwritten"),
        ("good/a.png", "b.jpg", "b.jpg: outputs are PNG files"),
        ("small", "out", "small/a.png: 7 x 20 pixels. Each side must be at least 8"),
        ("good", "good/a.png", "good/a.png/a.png: cannot be written"),
    ],
)
def test_what_cannot_be_translated_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "twins", "good", "small"):
        Path(folder).mkdir()
    Path("twins/a.jpg").touch()
    Path("twins/a.png").touch()
    write_png(Path("good/a.png"), picture(8, 8, 3))
    write_png(Path("small/a.png"), picture(7, 20, 3))
    before = Path("good/a.png").read_bytes()
    with pytest.raises(UserError) as caught:
        translated(Generator(GeneratorConfig(4, 1)), Path(source), Path(target))
    assert said in str(caught.value)
    assert Path("good/a.png").read_bytes() == before


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"two\nlines.png", "猫.png".encode(), b"quo'te\"s.png"])
def test_every_name_is_translated_and_kept(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / os.fsdecode(name), picture(8, 8, 3))
    (tmp_path / "in/._0.png").write_bytes(b"hidden")
    translated(Generator(GeneratorConfig(4, 1)), tmp_path / "in", tmp_path / "out")
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("target", ["/dev/zero", "a.png", "nowhere"])
def test_what_is_no_file_is_refused_before_anything_is_translated(tmp_path: Path, target: str) -> None:
    write_png(tmp_path / "0.png", picture(8, 8, 3))
    (tmp_path / "a.png").symlink_to(target)
    with pytest.raises(UserError, match=r"a\.png: cannot be read"):
        translated(Generator(GeneratorConfig(4, 1)), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sides_that_are_no_multiple_of_4_are_continued_by_reflection_and_cut() -> None:
    generator, source = Generator(GeneratorConfig(4, 1)), picture(17, 22, 3)
    whole = translate_picture(generator, np.pad(source, ((0, 3), (0, 2), (0, 0)), "reflect"), CPU)
    assert np.array_equal(translate_picture(generator, source, CPU), whole[:17, :22])


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError):
        write_png(tmp_path / "a.png", picture(8, 8, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
