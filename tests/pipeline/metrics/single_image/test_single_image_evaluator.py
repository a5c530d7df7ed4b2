"""The scores of a generator on the two images it was trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.figures.image_grid import _lines
from analysis.records.names import Tag
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.data.dataset_cache import Dataset, open_dataset, prepare
from pipeline.errors import UserError
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.single_image.evaluator import SingleImageEvaluator, evaluator_of
from pipeline.metrics.single_image.feature_maps import ImageNetInceptionMap

CPU = torch.device("cpu")
CONFIG = compose_config(["task=pictures", "data.image_size=[64,80]"])
DISTANCE, TO_INPUT, IDENTITY = "sifd_small_conv", "sifd_small_conv_to_input", "identity_error"


def evaluator(cache: Path, config: Config = CONFIG) -> SingleImageEvaluator:
    found = evaluator_of(open_dataset(prepare(config.data, cache).folder), config.metric, CPU, cache)
    assert isinstance(found, SingleImageEvaluator)
    return found


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> SingleImageEvaluator:
    return evaluator(tmp_path_factory.mktemp("cache"))


def test_the_identity_scores_as_the_untranslated_image(scorer: SingleImageEvaluator) -> None:
    scores = scorer.evaluate(lambda image: image).scores
    assert scores == scorer.score_source()
    assert scores[TO_INPUT] == pytest.approx(0, abs=1e-6)
    assert scores[IDENTITY] == 0
    assert scores[DISTANCE] > 1


def test_the_image_of_b_is_at_distance_0_and_far_from_the_input(scorer: SingleImageEvaluator) -> None:
    b = torch.from_numpy(scorer.test_b / 127.5 - 1).float()
    scores = scorer.evaluate(lambda image: b).scores
    assert scores[DISTANCE] == pytest.approx(0, abs=1e-6)
    assert scores[TO_INPUT] == pytest.approx(scorer.score_source()[DISTANCE])


def test_the_identity_error_is_the_mean_change_of_b_in_levels_after_clamping(scorer: SingleImageEvaluator) -> None:
    found = scorer.evaluate(lambda image: image + 5).scores[IDENTITY]
    assert found == pytest.approx((255.0 - scorer.test_b).mean())


def test_sides_of_a_and_b_may_differ(scorer: SingleImageEvaluator, tmp_path: Path) -> None:
    wide = np.concatenate([scorer.dataset.test_b, scorer.dataset.test_b], axis=3)
    dataset = Dataset(*[scorer.dataset.test_a, wide] * 3)
    other = SingleImageEvaluator(dataset, CONFIG.metric, CPU, tmp_path)
    evaluation = other.evaluate(lambda image: image)
    assert evaluation.scores[DISTANCE] == pytest.approx(scorer.score_source()[DISTANCE], rel=0.2)
    a, output, b = (line[0] for line in _lines(evaluation.grid, evaluation.provenance[Tag.IMAGE_SIZE]))
    assert a.shape == output.shape == b.shape == (64, 80, 3)
    assert np.array_equal(a, output)
    assert (b[0] == 255).all()  # twice as wide, so it has white above and below


def test_the_grid_of_a_large_image_is_small(tmp_path: Path) -> None:
    large = Dataset(*[np.zeros((1, 3, 800, 1024), np.uint8)] * 6)
    evaluation = SingleImageEvaluator(large, CONFIG.metric, CPU, tmp_path).evaluate(lambda image: image)
    assert evaluation.grid.shape == (1200, 512, 3)
    assert [len(line) for line in _lines(evaluation.grid, evaluation.provenance[Tag.IMAGE_SIZE])] == [1, 1, 1]


def test_a_picture_has_not_collapsed(scorer: SingleImageEvaluator) -> None:
    assert not scorer.evaluate(lambda image: image).collapsed
    assert scorer.evaluate(torch.zeros_like).collapsed


def test_a_translation_that_is_not_finite_is_refused(scorer: SingleImageEvaluator) -> None:
    with pytest.raises(UserError, match="not finite: the generator diverged"):
        scorer.evaluate(lambda image: image * torch.inf)


def test_gray_domains_are_scored(tmp_path: Path) -> None:
    config = compose_config(["task=pictures", "data.image_size=64", "data.channels_b=1"])
    seen: list[int] = []

    def translate(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.shape[1])
        return image[:, :1]

    assert evaluator(tmp_path, config).evaluate(translate).scores[IDENTITY] == 0
    assert seen == [3, 3]  # also B, which gets the channels of A


def test_with_torchvisions_inception_the_distance_is_called_sifid(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(ImageNetInceptionMap().layers.state_dict(), tmp_path / "drawn.pth")
    weights = f"metric.weights={tmp_path / 'drawn.pth'}"
    config = compose_config(
        ["task=pictures", "data.image_size=[64,80]", "metric.extractor=inception-v3-imagenet", weights]
    )
    evaluation = evaluator(tmp_path, config).evaluate(lambda image: image)
    assert set(evaluation.scores) == {"sifid", "sifid_to_input", "identity_error"}
    assert evaluation.scores["sifid"] > 0
    assert evaluation.provenance[Tag.DIMENSIONS] == "192"


def test_scores_of_pairs_are_added(tmp_path: Path) -> None:
    config = compose_config(["task=pictures", "data.image_size=[64,80]", "metric.also=[edges]"])
    assert evaluator(tmp_path, config).evaluate(lambda image: image).scores["edges"] == pytest.approx(1)


def test_sets_of_images_keep_their_evaluator(tmp_path: Path) -> None:
    config = compose_config(["data.size=32", "data.train_count=4", "data.test_count=4"])
    dataset = open_dataset(prepare(config.data, tmp_path).folder)
    assert isinstance(evaluator_of(dataset, config.metric, CPU, tmp_path), Evaluator)
