"""A large image in tiles is the whole image's translation."""

import pytest
import torch
from torch import Tensor

from models.configs.networks import GeneratorConfig
from models.configs.sincut import StyleGeneratorConfig
from models.networks.generator import Generator
from models.networks.stylegan2 import StyleGenerator, fixed_noise
from models.networks.stylegan2_layers import initialise_scaled
from models.networks.tiles import MARGIN, SIDE, translate_in_tiles, translation_of


@pytest.fixture(scope="module")
def network() -> StyleGenerator:
    """A thin generator that has learned a weight of its noise, in float64."""
    network = StyleGenerator(StyleGeneratorConfig(channels=1)).double()
    initialise_scaled(network, torch.Generator().manual_seed(0))
    network.stages["up"].noise_weight.data.fill_(0.7)
    return network


@pytest.mark.parametrize(("height", "width"), [(140, 100), (64, 132), (60, 60)])
def test_tiles_equal_the_whole_image(network: StyleGenerator, height: int, width: int) -> None:
    image = 2 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1
    noise = fixed_noise(height, width).double()
    whole = network.translate(image, noise)
    tiled = translate_in_tiles(network.translate, image, noise, 64)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


def test_less_than_the_margin_leaves_seams(network: StyleGenerator) -> None:
    image, noise = torch.rand(1, 3, 132, 132, dtype=torch.float64), fixed_noise(132, 132).double()
    seams = translate_in_tiles(network.translate, image, noise, 64, 28) - network.translate(image, noise)
    assert seams.abs().max() > 1e-9


def test_a_generator_is_translated_in_tiles_with_its_fixed_noise_only_if_tiles_are_exact(
    network: StyleGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = type(network).forward
    monkeypatch.setattr(type(network), "forward", lambda *given: (sizes.append(given[1].shape[3]), forward(*given))[1])
    image = torch.rand(1, 3, 16, SIDE + 4, dtype=torch.float64)
    torch.testing.assert_close(translation_of(network)(image), network.translate(image), rtol=0, atol=1e-12)
    assert sizes == [SIDE + 4, MARGIN + 4, SIDE + 4]
    cut = Generator(GeneratorConfig(channels=1, blocks=1))
    assert translation_of(cut) == cut.translate


def test_no_tile_is_larger_than_its_side_and_two_margins() -> None:
    sizes: list[tuple[int, int]] = []

    def translate(image: Tensor, noise: Tensor) -> Tensor:
        assert image.shape == noise.shape
        sizes.append((image.shape[2], image.shape[3]))
        return image

    image = torch.rand(1, 1, 1100, 600)
    assert torch.equal(translate_in_tiles(translate, image, image), image)
    assert max(side for size in sizes for side in size) <= SIDE + 2 * MARGIN
    assert len(sizes) == 6
