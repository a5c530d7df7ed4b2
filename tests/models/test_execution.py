"""Every execution setting against the exact default."""

from functools import cache
from typing import Any

import pytest
import torch
from golden_cases import CASES, CUT_CASES, cut_of, cyclegan_of, follows, randomness_of

from models.configs.execution import Execution
from models.execution import apply_execution
from models.networks.layers import BlurDown, BlurUp, InstanceNorm, is_channels_last
from models.objective import Batch, sample_step
from models.reference.checkpoint import reference_networks, reference_weights
from pipeline.hardware.memory import LiveTensors
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

RATE, BETAS = 2e-4, (0.5, 0.999)
EXACT = {
    "channels last": Execution(channels_last=True),
    "recompute": Execution(recompute=True),
    "both": Execution(channels_last=True, recompute=True),
}


@cache
def stepped(name: str, execution: Execution) -> tuple[Any, dict[str, float], int]:
    """Return the objective after a step of a golden case, its losses, and the peak bytes of live tensors."""
    case = CASES[name]
    objective: Any = cut_of(case) if name in CUT_CASES else cyclegan_of(case)
    if name in CUT_CASES:
        objective.sample_randomness = lambda *_: (randomness_of(case, objective), {})
    apply_execution(objective, execution)
    optimizers = make_optimizers(objective, RATE, BETAS)
    with LiveTensors() as live:
        batch = Batch(case["real_A"], case["real_B"])
        draws = sample_step(objective, len(batch.a), torch.Generator())
        report = train_step(objective, optimizers, batch, draws, execution)
    return objective, {key: float(loss) for key, loss in report.items()}, live.peak_bytes


@pytest.mark.parametrize("execution", EXACT.values(), ids=EXACT.keys())
@pytest.mark.parametrize("name", CASES)
def test_an_exact_switch_changes_neither_losses_nor_weights(name: str, execution: Execution) -> None:
    expected, losses, _ = stepped(name, Execution())
    found, found_losses, _ = stepped(name, execution)
    assert found_losses == pytest.approx(losses, rel=1e-4)
    for key, network in reference_networks(expected).items():
        assert not follows(reference_networks(found)[key], reference_weights(network), RATE), key


@pytest.mark.parametrize("name", CASES)
def test_bf16_loses_as_much_as_float32_within_its_rounding(name: str) -> None:
    _, losses, _ = stepped(name, Execution())
    _, found, _ = stepped(name, Execution(precision="bf16", channels_last=True))
    assert found == pytest.approx(losses, rel=0.05)
    assert found != losses


@pytest.mark.parametrize("name", CASES)
def test_recomputed_layers_are_not_kept(name: str) -> None:
    kept = stepped(name, Execution(channels_last=True))[2]
    recomputed = stepped(name, Execution(channels_last=True, recompute=True))[2]
    assert recomputed < 0.9 * kept


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (9, 8), (64, 30)])
@pytest.mark.parametrize("layer", [BlurDown(5), BlurUp(5), InstanceNorm()])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_layer_and_its_gradient_are_the_same_in_both_layouts(
    layer: torch.nn.Module, size: tuple[int, int], batch: int
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 5, *size, generator=rng)
    layouts = (torch.contiguous_format, torch.channels_last)
    first, last = (x.contiguous(memory_format=layout).requires_grad_() for layout in layouts)
    one, two = layer(first), layer(last)
    assert is_channels_last(two) and not is_channels_last(one)
    arriving = torch.randn(one.shape, generator=rng)
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5, check_stride=False)
    (expected,) = torch.autograd.grad(one, first, arriving)
    (found,) = torch.autograd.grad(two, last, arriving.contiguous(memory_format=torch.channels_last))
    assert is_channels_last(found), "what comes before would turn it over again"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, check_stride=False)


def test_the_statistics_of_bf16_images_are_float32s() -> None:
    x = (50 + torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(0))).bfloat16()
    variance, mean = torch.var_mean(x.double(), (2, 3), correction=0, keepdim=True)
    found = InstanceNorm()(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.double(), (x - mean) * torch.rsqrt(variance + 1e-5), rtol=0.005, atol=0.005)
