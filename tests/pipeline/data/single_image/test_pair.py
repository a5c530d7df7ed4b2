"""The two images of a task: found, refused, decoded and drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.data.dataset_cache import Dataset, open_dataset, prepare
from pipeline.data.single_image.drawing import draw_picture
from pipeline.data.single_image.pair import in_multiples_of_4
from pipeline.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A colour image of 70 x 90 for A, and one of 81 x 66 for B."""
    rng = np.random.default_rng(0)
    for part, size in (("trainA", (70, 90, 3)), ("trainB", (81, 66, 3))):
        (tmp_path / "mine" / part).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / "mine" / part / "one.png")
    return tmp_path / "mine"


def config(root: Path, *overrides: str) -> Config:
    return compose_config(["task=single", f"data.root={root}", *overrides])


def opened(root: Path, cache: Path, *overrides: str) -> Dataset:
    return open_dataset(prepare(config(root, *overrides).data, cache).folder)


def test_training_images_are_whole_and_test_images_have_sides_in_multiples_of_four(root: Path, tmp_path: Path) -> None:
    found = opened(root, tmp_path / "cache")
    assert np.array_equal(found.train_a[0], np.asarray(Image.open(root / "trainA/one.png")).transpose(2, 0, 1))
    assert (found.train_b.shape, found.test_b.shape) == ((1, 3, 81, 66), (1, 3, 80, 64))
    assert found.test_a.shape == (1, 3, 72, 88)  # 70 / 4 and 90 / 4 are halfway, and go to the even number


def test_even_sides_change_nothing_and_others_are_resized_bilinearly() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (22, 30, 1), np.uint8)
    assert in_multiples_of_4(picture[:20, :28]) is not picture
    assert np.array_equal(in_multiples_of_4(picture[:20, :28]), picture[:20, :28])
    expected = Image.fromarray(picture[..., 0]).resize((32, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(in_multiples_of_4(picture)[..., 0], np.asarray(expected))


def test_a_domain_can_be_gray(root: Path, tmp_path: Path) -> None:
    found = opened(root, tmp_path / "cache", "data.channels_b=1")
    assert (found.train_a.shape[1], found.train_b.shape[1]) == (3, 1)


def test_images_are_known_by_content_and_decoded_once(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = prepare(config(root).data, cache)
    root.rename(tmp_path / "moved")
    assert prepare(config(tmp_path / "moved", "data.crops_per_epoch=32", "data.zoom=per_batch").data, cache) == first
    Image.new("RGB", (90, 90)).save(tmp_path / "moved/trainB/one.png")
    assert prepare(config(tmp_path / "moved").data, cache).fingerprint != first.fingerprint


def test_exactly_one_image_is_needed_in_each_folder(root: Path, tmp_path: Path) -> None:
    (root / "trainA/two.jpg").write_bytes(b"")
    (root / "trainB/one.png").unlink()
    with pytest.raises(UserError) as raised:
        prepare(config(root).data, tmp_path)
    one, other = raised.value.faults
    assert one.startswith(f"{root / 'trainA'}: 2 images found, and exactly 1 is needed")
    assert other.startswith(f"{root / 'trainB'}: 0 images found")


def test_an_image_smaller_than_a_crop_is_named_with_its_size(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainB/one.png: 81 x 66 pixels, but a crop has 64 x 80. .*lower data.size"):
        prepare(config(root, "data.size=[64,80]").data, tmp_path)


def test_an_image_of_16_bits_is_refused(root: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((70, 70), np.uint16)).save(root / "trainA/one.png")
    with pytest.raises(UserError, match=r"trainA/one.png: 16 bits.*Save it with 8 bits"):
        prepare(config(root).data, tmp_path)


def test_a_folder_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder. It must contain trainA and trainB"):
        prepare(config(tmp_path / "nowhere").data, tmp_path)


def test_the_same_seed_draws_the_same_pictures_and_domains_differ() -> None:
    size = (96, 128)
    a, b = (draw_picture(size, 3, painted=painted) for painted in (False, True))
    assert a.shape == b.shape == (96, 128, 3)
    assert np.array_equal(draw_picture(size, 3, painted=True), b)
    assert not np.array_equal(draw_picture(size, 4, painted=False), a)
    # A is flat: neighbours are mostly equal. B has strokes everywhere, and other colours.
    flat, painted = (np.abs(np.diff(picture.astype(int), axis=1)).mean() for picture in (a, b))
    assert painted > 3 * flat
    assert abs(a.mean((0, 1)) - b.mean((0, 1))).max() > 30


def test_drawn_pictures_must_hold_a_crop() -> None:
    with pytest.raises(UserError, match=r"image_size is \[48, 512\]. It must be at least size"):
        compose_config(["task=pictures", "data.image_size=[48,512]"])


def test_drawn_pictures_can_be_gray(tmp_path: Path) -> None:
    data = compose_config(["task=pictures", "data.image_size=64", "data.channels_a=1"]).data
    found = open_dataset(prepare(data, tmp_path).folder)
    assert (found.test_a.shape, found.test_b.shape) == ((1, 1, 64, 64), (1, 3, 64, 64))
