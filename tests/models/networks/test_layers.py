import pytest
import torch
from torch import Tensor, nn

from models.networks.layers import BlurDown, BlurUp, InstanceNorm, initialise


def formula(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_and_its_gradient_equal_the_formula(batch: int, layout: torch.memory_format) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 8, 6, 6, generator=rng, requires_grad=True)
    arriving = torch.randn(batch, 8, 6, 6, generator=rng).contiguous(memory_format=layout)
    (gradient,) = torch.autograd.grad(InstanceNorm()(x), x, arriving)
    (expected,) = torch.autograd.grad(formula(x.double()), x, arriving.double())
    torch.testing.assert_close(InstanceNorm()(x), formula(x))
    torch.testing.assert_close(gradient, expected.float())


def test_blurs_leave_a_flat_image_flat() -> None:
    flat = torch.full((1, 3, 8, 8), 0.7)
    torch.testing.assert_close(BlurDown(3)(flat), torch.full((1, 3, 4, 4), 0.7))
    torch.testing.assert_close(BlurUp(3)(flat), torch.full((1, 3, 16, 16), 0.7))


def test_weights_start_with_xaviers_spread() -> None:
    network = nn.Sequential(nn.Conv2d(30, 50, 3), nn.ConvTranspose2d(50, 30, 3), nn.Linear(200, 300))
    initialise(network, torch.Generator().manual_seed(0))
    for layer, fans in zip(network, ((30 * 9, 50 * 9), (30 * 9, 50 * 9), (200, 300)), strict=True):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02 * (2 / sum(fans)) ** 0.5, rel=0.05)
        assert not layer.bias.any()
