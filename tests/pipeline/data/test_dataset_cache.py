import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.images import to_bits, to_model_range
from pipeline.config.schema import FolderConfig, StripesConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.data.image_io import write_png
from pipeline.errors import UserError
from pipeline.rng import rng_for

STRIPES = StripesConfig(
    "stripes", "stripes", size=(32, 32), train_count=4, test_count=3, drawing_seed=0, channels_a=3, channels_b=3
)


def make_folder(root: Path, count: int = 3, size: tuple[int, int] = (50, 40)) -> FolderConfig:
    rng = np.random.default_rng(0)
    for split in ("trainA", "trainB", "testA", "testB"):
        (root / split).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(root / split / f"{number}.png")
    return FolderConfig("folder", "mine", str(root), load_size=(36, 36), size=(32, 32), channels_a=3, channels_b=3)


def test_folder_is_resized_by_the_protocols_filter(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "data")
    dataset = open_dataset(prepare(config, tmp_path / "cache").folder)
    assert dataset.train_a.shape == (3, 3, 36, 36)
    assert dataset.decay_a.shape == dataset.test_a.shape == (3, 3, 32, 32)
    with Image.open(tmp_path / "data/testB/1.png") as image:
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(dataset.test_b[1], expected)


def test_content_names_the_data_and_its_place_does_not(tmp_path: Path) -> None:
    here, there = make_folder(tmp_path / "here"), make_folder(tmp_path / "there")
    one, two = prepare(here, tmp_path / "cache"), prepare(there, tmp_path / "cache")
    assert one == two
    with Image.open(tmp_path / "there/testA/0.png") as image:
        changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(tmp_path / "there/testA/0.png")
    assert prepare(there, tmp_path / "cache").fingerprint != one.fingerprint


def test_sizes_name_the_cache_entry_too(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "data")
    one, two = (prepare(replace(config, load_size=(size, size)), tmp_path / "cache") for size in (36, 40))
    assert one.fingerprint == two.fingerprint
    assert one.folder != two.folder


def test_a_cache_entry_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[object] = []

    def torn(file: Path, array: object) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(file)
        Path(file).write_bytes(b"half of")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            prepare(STRIPES, tmp_path)
    dataset = open_dataset(prepare(STRIPES, tmp_path).folder)
    assert len(dataset.train_a) == 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "testB/1.png").write_bytes(b"not a picture"), "testB/1.png: cannot be read as an image"),
        (lambda root: (root / "trainA/2.png").write_bytes((root / "trainA/2.png").read_bytes()[:200]), "trainA/2.png"),
        (lambda root: (root / "testB/9.png").symlink_to(root / "nowhere.png"), "testB/9.png: cannot be read"),
        (lambda root: (root / "testA/9.png").mkdir(), "testA/9.png: cannot be read"),
        (lambda root: [file.unlink() for file in (root / "trainB").iterdir()], "trainB: 0 images found"),
        (lambda root: [(root / f"testA/{n}.png").unlink() for n in (0, 1)], "testA: 1 images found"),
        (lambda root: (root / "trainA").rename(root / "elsewhere"), "trainA: no such folder"),
    ],
)
def test_folders_that_cannot_serve_are_refused_in_one_line(tmp_path: Path, spoil, said: str) -> None:
    config = make_folder(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(UserError) as caught:
        prepare(config, tmp_path / "cache")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_is_a_function_of_its_place(tmp_path: Path) -> None:
    dataset = open_dataset(prepare(make_folder(tmp_path / "data"), tmp_path / "cache").folder)
    one, two = (
        UnpairedBatches(dataset, (32, 32), 1, 7).batch(3, 1, rng_for(7, "step", 10), decaying=False) for _ in range(2)
    )
    assert one.a.shape == (1, 3, 32, 32)
    assert torch.equal(one.a, two.a) and torch.equal(one.b, two.b)


def test_an_epoch_shows_every_image_of_the_longer_domain_once(tmp_path: Path) -> None:
    dataset = open_dataset(prepare(STRIPES, tmp_path).folder)
    flat = replace(dataset, train_a=np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(3, 1))
    batches = UnpairedBatches(flat, (1, 1), 1, 0)
    for epoch in range(3):
        seen = [
            int(batches.batch(epoch, index, rng_for(0, index), decaying=False).a.flatten()[0])
            for index in range(batches.steps_per_epoch)
        ]
        assert sorted(seen) == [0, 1, 2, 3]


def test_crops_are_random_before_the_decay_phase_alone(tmp_path: Path) -> None:
    dataset = open_dataset(prepare(make_folder(tmp_path / "data", count=2), tmp_path / "cache").folder)
    batches = UnpairedBatches(dataset, (32, 32), 1, 0)

    def different(*, decaying: bool) -> int:
        shown = [batches.batch(0, 0, rng_for(0, n), decaying=decaying).a for n in range(40)]
        return len({image.numpy().tobytes() for image in shown})

    assert different(decaying=True) == 2  # the image and its mirror
    assert different(decaying=False) > 10


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_every_level_survives_the_models_range(dtype: torch.dtype) -> None:
    levels = torch.arange(torch.iinfo(dtype).max + 1).to(dtype)
    assert torch.equal(to_bits(to_model_range(levels), dtype), levels)


def test_rectangles_are_loaded_cropped_and_drawn(tmp_path: Path) -> None:
    config = replace(make_folder(tmp_path / "data"), load_size=(36, 52), size=(32, 48))
    for dataset in (
        open_dataset(prepare(config, tmp_path).folder),
        open_dataset(prepare(replace(STRIPES, size=(32, 48)), tmp_path).folder),
    ):
        batch = UnpairedBatches(dataset, (32, 48), 2, 0).batch(0, 0, rng_for(0), decaying=False)
        assert batch.a.shape == batch.b.shape == (2, 3, 32, 48)
        assert dataset.test_a.shape[2:] == (32, 48)


def test_a_domain_may_be_gray_and_the_other_coloured(tmp_path: Path) -> None:
    config = replace(make_folder(tmp_path / "data"), channels_a=1)
    coloured = open_dataset(prepare(replace(config, channels_a=3), tmp_path).folder)
    gray = open_dataset(prepare(config, tmp_path).folder)
    assert (gray.train_a.shape[1], gray.train_b.shape[1]) == (1, 3)
    assert np.array_equal(gray.train_b, coloured.train_b)
    # Gray first and then resized, as the reference code does it.
    with Image.open(tmp_path / "data/testA/1.png") as image:
        expected = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(gray.test_a[1, 0] - expected).max() <= 1
    drawn = open_dataset(prepare(replace(STRIPES, channels_b=1), tmp_path).folder)
    assert (drawn.train_a.shape[1], drawn.train_b.shape[1]) == (3, 1)


def test_16_bits_reach_the_model_beside_8(tmp_path: Path) -> None:
    config = replace(make_folder(tmp_path / "data", size=(32, 32)), load_size=(32, 32), channels_a=1)
    shallow = np.full((32, 32, 1), 100, dtype=np.uint8)
    deep = np.full((32, 32, 1), 100 * 257 + 128, dtype=np.uint16)
    for number, picture in enumerate((shallow, deep, shallow)):
        write_png(tmp_path / f"data/trainA/{number}.png", picture)
    dataset = open_dataset(prepare(config, tmp_path).folder)
    assert (dataset.train_a.dtype, dataset.train_b.dtype) == (np.uint16, np.uint8)
    batches = UnpairedBatches(dataset, (32, 32), 1, 0)
    levels = {
        round(float(to_model_range(batches.batch(0, n, rng_for(0), decaying=False).a)[0, 0, 0, 0]), 5) for n in range(3)
    }
    assert levels == {round(2 * 100 / 255 - 1, 5), round(2 * (100 * 257 + 128) / 65535 - 1, 5)}


def test_an_incomplete_last_batch_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(prepare(STRIPES, tmp_path).folder)
    assert [UnpairedBatches(dataset, (32, 32), size, 0).steps_per_epoch for size in (1, 2, 3, 4)] == [4, 2, 1, 1]


@pytest.mark.parametrize("damage", ["torn array", "lost array", "lost folder"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    folder = prepare(STRIPES, tmp_path).folder
    whole = np.array(open_dataset(folder).test_a)
    match damage:
        case "torn array":
            (folder / "test_a.npy").write_bytes((folder / "test_a.npy").read_bytes()[:-10])
        case "lost array":
            (folder / "test_a.npy").unlink()
        case _:
            shutil.rmtree(folder)
    assert np.array_equal(open_dataset(prepare(STRIPES, tmp_path).folder).test_a, whole)
    assert str(folder) in capsys.readouterr().err
