"""A large image in tiles is the whole image's translation."""

import pytest
import torch
from torch import Tensor, nn

from models.networks.tiles import MARGIN, SIDE, translate_in_tiles


class Sees32(nn.Module):
    """A stand-in for a generator that sees at most 32 rows and columns to each side, and adds noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.deep = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(13)))
        self.up = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)
        self.double()

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        return torch.sin(self.up(torch.tanh(self.deep(self.down(image)))) + noise)


@pytest.mark.parametrize(("height", "width"), [(140, 100), (64, 132), (60, 60)])
@torch.no_grad()
def test_tiles_equal_the_whole_image(height: int, width: int) -> None:
    network = Sees32()
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(2, 2, height, width, generator=rng, dtype=torch.float64)
    noise = torch.randn(1, 1, height, width, generator=rng, dtype=torch.float64)
    whole = network(image, noise)
    torch.testing.assert_close(translate_in_tiles(network, image, noise, 64), whole, rtol=0, atol=1e-12)
    # The margin is needed, and the noise is that of the whole image.
    assert min(height, width) <= 64 or (translate_in_tiles(network, image, noise, 64, 16) - whole).abs().max() > 1e-6


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
