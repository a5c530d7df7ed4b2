from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.images import to_bits
from pipeline.config.schema import Config
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.data.image_io import to_16_bits
from pipeline.errors import UserError
from pipeline.metrics.evaluator import Evaluator


def evaluator_of(config: Config, cache: Path) -> Evaluator:
    return Evaluator(open_dataset(prepare(config.data, cache).folder), config.metric, torch.device("cpu"), cache)


@pytest.fixture
def evaluator(tiny: Callable[..., Config], tmp_path: Path) -> Evaluator:
    config = tiny("metric.grid_images=3")
    return evaluator_of(config, tmp_path)


def test_doing_nothing_scores_as_the_source_and_leaves_the_ground(evaluator: Evaluator) -> None:
    scores = evaluator.evaluate(lambda images: images).scores
    assert scores == evaluator.score_source()
    assert scores["background_change"] == 0


def test_translating_to_b_itself_has_distance_zero(evaluator: Evaluator) -> None:
    queue = list(torch.from_numpy(np.array(evaluator.dataset.test_b)).split(evaluator.config.batch_size))
    scores = evaluator.evaluate(lambda _: queue.pop(0).float() / 127.5 - 1).scores
    assert abs(scores["fd_small_conv"]) < 1e-4


def test_grid_shows_inputs_outputs_and_neighbours(evaluator: Evaluator) -> None:
    grid = evaluator.evaluate(lambda images: -images).grid
    size = evaluator.dataset.test_a.shape[-1]
    assert grid.shape == (3 * size, 3 * size, 3)
    inputs, outputs, neighbours = (grid[row * size : (row + 1) * size, :size] for row in range(3))
    source = torch.from_numpy(np.array(evaluator.dataset.test_a[0]))
    assert np.array_equal(inputs, source.permute(1, 2, 0))
    assert np.array_equal(outputs, to_bits(-(source.float() / 127.5 - 1), torch.uint8).permute(1, 2, 0))
    assert any(np.array_equal(neighbours, image.transpose(1, 2, 0)) for image in evaluator.dataset.test_b)


def test_truncated_translations_are_scored_and_recorded_as_such(evaluator: Evaluator) -> None:
    truncating = Evaluator(
        evaluator.dataset, replace(evaluator.config, to_8_bits="truncate"), evaluator.device, evaluator.cache
    )

    def a_bit_brighter(images: torch.Tensor) -> torch.Tensor:
        return images + 0.6 / 127.5

    rounded, truncated = (which.evaluate(a_bit_brighter) for which in (evaluator, truncating))
    source = evaluator.test_a.astype(int)
    inner = source < 255
    assert np.array_equal(truncated.outputs[inner], source[inner])
    assert np.array_equal(rounded.outputs[inner], source[inner] + 1)
    assert rounded.scores["fd_small_conv"] != truncated.scores["fd_small_conv"]
    assert (rounded.provenance["to_8_bits"], truncated.provenance["to_8_bits"]) == ("round", "truncate")


def test_all_test_images_are_scored(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny("data.test_count=61", "data.size=16", "model.discriminator.layers=2", "model.num_patches=16")
    evaluator = evaluator_of(config, tmp_path)
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
    again = Evaluator(deep, evaluator.config, evaluator.device, evaluator.cache)
    assert again.evaluate(lambda images: -images).scores == evaluator.evaluate(lambda images: -images).scores


def test_a_folder_of_the_translations_scores_as_the_translations(evaluator: Evaluator) -> None:
    translated = evaluator.evaluate(lambda images: -images)
    again = evaluator.evaluate_images(translated.outputs)
    needs_inputs = {
        "background_change",
        "object_iou",
        "size_kept",
        "ground_changed",
        "objects_lost",
        "objects_invented",
    }
    assert again.scores == {name: score for name, score in translated.scores.items() if name not in needs_inputs}
    # Whoever wrote the files gave them 8 bits.
    assert again.provenance == translated.provenance | {"to_8_bits": "as in the files"}
    size = evaluator.test_a.shape[-1]
    assert np.array_equal(again.grid, translated.grid[size:])  # all but the inputs, which it does not know


def test_a_translation_that_is_not_finite_is_refused(evaluator: Evaluator) -> None:
    with pytest.raises(UserError, match="a translation of test A is not finite"):
        evaluator.evaluate(lambda images: images / (images - images))


@pytest.mark.parametrize("levels", [0.0, 2 / 255])
def test_a_generator_that_makes_one_image_of_all_has_collapsed(evaluator: Evaluator, levels: float) -> None:
    """Also if the images differ by a level or two."""
    assert evaluator.evaluate(lambda images: 0.3 + levels * images).collapsed


def test_images_that_differ_have_not_collapsed(evaluator: Evaluator) -> None:
    assert not evaluator.evaluate(lambda images: images).collapsed
    assert not evaluator.evaluate_images(evaluator.test_b[:2]).collapsed


def test_scores_come_with_what_they_were_made_with(evaluator: Evaluator) -> None:
    made_with = evaluator.evaluate(lambda images: images).provenance
    assert made_with["extractor"] == "small-conv"
    assert made_with["weights"] == evaluator.extractor.weights != ""
    assert (made_with["layer"], made_with["dimensions"]) == ("144", "144")
    assert (made_with["images_a"], made_with["images_b"], made_with["image_size"]) == ("6", "6", "32 x 32")
    assert (made_with["kid_subset_size"], made_with["kid_subsets"]) == ("3", "100")


def test_gray_images_are_scored_as_their_gray_in_colours(tiny: Callable[..., Config], tmp_path: Path) -> None:
    evaluator = evaluator_of(tiny("data.channels_b=1"), tmp_path)
    gray = evaluator.evaluate(lambda images: images[:, :1])
    coloured = evaluator.evaluate(lambda images: images[:, :1].repeat(1, 3, 1, 1))
    assert gray.scores == coloured.scores
