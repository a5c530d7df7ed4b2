"""The maps of features of one image: torchvision's Inception, and the embedded task's network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from pipeline.checks.services import check_weights
from pipeline.config.schema import MetricConfig
from pipeline.errors import UserError
from pipeline.files import file_digest
from pipeline.metrics.extractors import load_extractor, weights_fingerprint
from pipeline.metrics.names import INCEPTION_IMAGENET, OPERATIONS_PER_IMAGE, SMALL_CONV, SMALL_CONV_MAP
from pipeline.metrics.single_image.feature_maps import IMAGENET_FILE

IMAGES = torch.randint(0, 256, (1, 3, 96, 130), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    """Torchvision's own network with drawn weights, also in its normalisation."""
    torch.manual_seed(0)
    network = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def weights(theirs: torch.nn.Module, tmp_path: Path) -> Iterator[str]:
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    load_extractor.cache_clear()
    yield str(tmp_path / "mine.pth")
    load_extractor.cache_clear()


def test_sifid_uses_conv2d_4a_of_torchvisions_network(theirs: torch.nn.Module, weights: str) -> None:
    seen: list[Tensor] = []
    hook = theirs.Conv2d_4a_3x3.register_forward_hook(lambda *of_layer: seen.append(of_layer[2]))
    theirs.transform_input = False  # images in [-1, 1], as they are
    with torch.no_grad():
        theirs(IMAGES / 127.5 - 1)
    hook.remove()
    extractor = load_extractor(INCEPTION_IMAGENET, weights)
    found = extractor(IMAGES)
    assert found.shape[1] == extractor.dimensions == 192
    torch.testing.assert_close(found, seen[0])


def test_weights_are_known_by_their_content_and_checked(weights: str) -> None:
    digits = file_digest(Path(weights))[:8]
    metric = MetricConfig(extractor=INCEPTION_IMAGENET, weights=weights)
    assert load_extractor(INCEPTION_IMAGENET, weights).weights == digits
    assert weights_fingerprint(INCEPTION_IMAGENET, weights) == digits
    assert check_weights(metric).status == "ok"


def test_absent_foreign_and_damaged_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / IMAGENET_FILE).write_bytes(b"torn")
    said = {
        None: "SIFID needs metric.weights=FILE",
        str(tmp_path / "nowhere.pth"): "no such file",
        str(tmp_path / "other.pth"): "not the weights of torchvision's Inception v3",
        str(tmp_path / IMAGENET_FILE): "its SHA-256 does not begin with 0cc3c7bd",
    }
    for given, why in said.items():
        with pytest.raises(UserError, match=why):
            load_extractor(INCEPTION_IMAGENET, given)
        assert check_weights(MetricConfig(extractor=INCEPTION_IMAGENET, weights=given)).status == "fault"


def test_the_small_map_is_that_of_the_small_extractors_second_layer() -> None:
    found = load_extractor(SMALL_CONV_MAP, None)(IMAGES)
    features = load_extractor(SMALL_CONV, None)(IMAGES)[0]
    assert found.shape == (1, 24, 24, 33)
    # After the means and deviations of the first layer's 16 channels.
    torch.testing.assert_close(found.mean((2, 3))[0], features[32:56])
    torch.testing.assert_close(found.std((2, 3))[0], features[56:80])


@pytest.mark.parametrize("extractor", [SMALL_CONV_MAP, INCEPTION_IMAGENET])
def test_counted_operations_are_those_of_an_image_of_64_x_64(extractor: str, weights: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = load_extractor(extractor, weights if extractor == INCEPTION_IMAGENET else None)
    with FlopCounterMode(display=False) as counter:
        network(IMAGES[..., :64, :64])
    assert counter.get_total_flops() == OPERATIONS_PER_IMAGE[extractor]
