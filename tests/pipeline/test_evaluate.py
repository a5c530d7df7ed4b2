from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data import open_dataset, prepare, to_bits
from pipeline.evaluate import Evaluator, background_change
from pipeline.pictures import to_16_bits
from pipeline.settings import Config


@pytest.fixture
def evaluator(tiny: Callable[..., Config], tmp_path: Path) -> Evaluator:
    config = tiny("metric.grid_images=3")
    return Evaluator(open_dataset(prepare(config.data, tmp_path).folder), config.metric, torch.device("cpu"))


def test_doing_nothing_scores_as_the_source_and_leaves_the_ground(evaluator: Evaluator) -> None:
    scores = evaluator.evaluate(lambda images: images).scores
    assert scores == evaluator.score_source()
    assert scores["background_change"] == 0


def test_background_change_counts_the_ground_alone() -> None:
    source = np.zeros((1, 3, 2, 2), dtype=np.uint8)
    output = source.copy()
    output[..., 0, 0] = 30  # ground
    output[..., 1, 1] = 200  # blob
    ground = np.array([[[True, True], [True, False]]])
    assert background_change(source, output, ground) == pytest.approx(10)


def test_translating_to_b_itself_has_distance_zero(evaluator: Evaluator) -> None:
    queue = list(torch.from_numpy(np.array(evaluator.dataset.test_b)).split(evaluator.config.batch_size))
    scores = evaluator.evaluate(lambda _: queue.pop(0).float() / 127.5 - 1).scores
    assert abs(scores["fd_small_conv"]) < 1e-2


def test_grid_shows_inputs_outputs_and_neighbours(evaluator: Evaluator) -> None:
    grid = evaluator.evaluate(lambda images: -images).grid
    size = evaluator.dataset.test_a.shape[-1]
    assert grid.shape == (3 * size, 3 * size, 3)
    inputs, outputs, neighbours = (grid[row * size : (row + 1) * size, :size] for row in range(3))
    source = torch.from_numpy(np.array(evaluator.dataset.test_a[0]))
    assert np.array_equal(inputs, source.permute(1, 2, 0))
    assert np.array_equal(outputs, to_bits(-(source.float() / 127.5 - 1), torch.uint8).permute(1, 2, 0))
    assert any(np.array_equal(neighbours, image.transpose(1, 2, 0)) for image in evaluator.dataset.test_b)


def test_all_test_images_are_scored(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny("data.test_count=61", "data.size=16", "model.discriminator.layers=2", "model.num_patches=16")
    evaluator = Evaluator(open_dataset(prepare(config.data, tmp_path).folder), config.metric, torch.device("cpu"))
    seen: list[int] = []

    def translate(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return images

    evaluator.evaluate(translate)
    assert sum(seen) == len(evaluator.features_b) == 61


def test_16_bits_score_as_the_8_they_were_made_of(evaluator: Evaluator) -> None:
    shallow = evaluator.dataset
    deep = replace(shallow, test_a=to_16_bits(shallow.test_a), test_b=to_16_bits(shallow.test_b))
    assert deep.test_a.max() > 255
    again = Evaluator(deep, evaluator.config, evaluator.device)
    assert again.evaluate(lambda images: -images).scores == evaluator.evaluate(lambda images: -images).scores
