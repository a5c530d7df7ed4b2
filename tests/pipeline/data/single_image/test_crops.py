"""Crops of one image for each domain: what they are, and that they depend only on seed and step."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.compose import compose_config
from pipeline.config.single_image.settings import PicturesConfig
from pipeline.data.dataset_cache import Dataset
from pipeline.data.single_image.crops import CropBatches, cell_corner, cut, draw_zoom, shrunk_size
from pipeline.rng import rng_for
from pipeline.training.prepared_steps import prefetch

CROP = (64, 64)
CONFIG = compose_config(["task=pictures"]).data
Make = Callable[..., CropBatches]


@pytest.fixture(scope="module")
def pair() -> Dataset:
    """Smooth images, 100 x 130 and 90 x 200, in colour and gray."""
    rows, columns = np.mgrid[:100, :130]
    a = np.stack([rows * 2, columns, 255 - rows - columns])[None].astype(np.uint8)
    b = np.broadcast_to(np.arange(200), (1, 1, 90, 200)).astype(np.uint8)
    return Dataset(a, b, a, b, a, b)


@pytest.fixture
def make(pair: Dataset) -> Make:
    def batches(batch_size: int = 16, seed: int = 0, **changes: object) -> CropBatches:
        assert isinstance(CONFIG, PicturesConfig)
        return CropBatches(pair, replace(CONFIG, **changes), batch_size, seed)

    return batches


def test_zooms_of_height_and_width_are_uniform_and_independent() -> None:
    zooms = np.array([draw_zoom(3.0, rng_for(0, number)) for number in range(4000)])
    assert zooms.min() >= 1 / 3
    assert zooms.max() <= 1
    # A tenth of all in each tenth of the range, and no correlation.
    counts = np.histogram(zooms[:, 0], 10, (1 / 3, 1))[0]
    assert abs(counts - 400).max() < 5 * 400**0.5
    assert abs(np.corrcoef(zooms.T)[0, 1]) < 0.07


def test_an_image_is_never_shrunk_below_a_crop() -> None:
    assert shrunk_size((1024, 768), (0.5, 0.4), CROP) == (512, 307)
    assert shrunk_size((100, 130), (0.5, 0.4), CROP) == (64, 64)


def test_cells_are_whole_and_counted_down_the_columns() -> None:
    corners = [cell_corner(number, (192, 128), CROP, rng_for(0)) for number in range(7)]
    assert corners == [(0, 0), (64, 0), (128, 0), (0, 64), (64, 64), (128, 64), (0, 0)]


def test_the_grid_is_shifted_within_what_whole_cells_leave_over() -> None:
    tops, lefts = zip(*(cell_corner(0, (70, 131), CROP, rng_for(0, number)) for number in range(300)), strict=True)
    assert set(tops) == set(range(7))  # 70 - 64, both ends included
    assert set(lefts) == set(range(4))  # 131 - 128


def test_a_crop_is_a_part_of_the_image_that_pillow_resizes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 190, 3), np.uint8)
    image = Image.fromarray(pixels)
    for shrunk, (top, left) in (((97, 140), (33, 76)), ((150, 190), (5, 7)), ((64, 64), (0, 0))):
        whole = np.asarray(image.resize(shrunk[::-1], Image.Resampling.BILINEAR), dtype=int)
        found = cut(image, shrunk, (top, left), CROP).transpose(1, 2, 0)
        assert abs(found - whole[top : top + 64, left : left + 64]).max() <= 2


def test_batches_have_the_channels_of_their_domains(make: Make) -> None:
    batch = make().batch(0, 0, rng_for(0), decaying=False)
    assert (batch.a.shape, batch.b.shape) == ((16, 3, 64, 64), (16, 1, 64, 64))
    assert batch.a.dtype == torch.uint8


def test_half_of_the_crops_are_flipped(make: Make) -> None:
    # B becomes brighter from left to right.
    batch = make(batch_size=400).batch(0, 0, rng_for(1), decaying=False).b.int()
    assert 150 < int((batch[:, 0, 0, 0] > batch[:, 0, 0, -1]).sum()) < 250


def test_crops_of_a_batch_have_zooms_of_their_own_unless_it_shares_one(make: Make) -> None:
    def slopes(zoom: str) -> set[int]:
        """How far apart B's first and last columns are, which only its zoom of the width decides."""
        batch = make(zoom=zoom).batch(0, 0, rng_for(2), decaying=False).b.int()
        return set((batch[:, 0, 0, -1] - batch[:, 0, 0, 0]).abs().tolist())

    assert len(slopes("per_crop")) > 8
    shared = slopes("per_batch")
    assert max(shared) - min(shared) <= 1


def test_an_epoch_has_each_cell_number_once_and_no_incomplete_batch(make: Make) -> None:
    batches = make(crops_per_epoch=50)
    assert batches.steps_per_epoch == 3
    orders = [batches._order(domain, epoch).tolist() for domain in "ab" for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_a_batch_depends_only_on_seed_and_step(make: Make) -> None:
    def crops(seed: int, number: int) -> torch.Tensor:
        batch = make(seed=seed).batch(
            *divmod(number, make().steps_per_epoch), rng_for(seed, "step", number), decaying=False
        )
        return torch.cat([batch.a.flatten(), batch.b.flatten()])

    assert torch.equal(crops(0, 251), crops(0, 251))
    assert not torch.equal(crops(0, 251), crops(0, 252))
    assert not torch.equal(crops(0, 251), crops(1, 251))
    batches = make()
    ahead = prefetch(batches.batch(0, index, rng_for(0, "step", index), decaying=False) for index in range(5))
    assert torch.equal([batch.a for batch in ahead][4], make().batch(0, 4, rng_for(0, "step", 4), decaying=False).a)


def test_the_decay_phase_has_the_same_crops(make: Make) -> None:
    batches = [make().batch(0, 0, rng_for(0), decaying=decaying) for decaying in (False, True)]
    assert torch.equal(batches[0].a, batches[1].a)
