"""The GPU gives the reference code's values, in float32 without TF32."""

import copy
from typing import Any

import pytest
import torch
from golden_cases import CASES, CUT_CASES, cut_of, cyclegan_of, follows, randomness_of
from torch.utils._pytree import tree_map_only

from models.configs.execution import Execution
from models.objective import Batch, on_device, sample_step
from models.reference.checkpoint import reference_networks, reference_weights
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

pytestmark = pytest.mark.gpu

RATE, BETAS = 2e-4, (0.5, 0.999)


def stepped(name: str, device: torch.device, execution: Execution) -> tuple[Any, dict[str, float]]:
    """The objective after one step of a case on a device, and its losses."""
    case = CASES[name]
    objective: Any = cut_of(case) if name in CUT_CASES else cyclegan_of(case)
    if name in CUT_CASES:
        draws = randomness_of(case, objective)
        objective.sample_randomness = lambda *_: (draws, {})
    objective.to(device)
    optimizers = make_optimizers(objective, RATE, BETAS)
    batch = tree_map_only(torch.Tensor, lambda images: images.to(device), Batch(case["real_A"], case["real_B"]))
    draws = on_device(sample_step(objective, len(batch.a), torch.Generator()), device)
    losses = train_step(objective, optimizers, batch, draws, execution)
    return objective, {key: float(loss) for key, loss in losses.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_golden_step_gives_the_losses_and_weights_of_the_cpu(name: str, device: torch.device) -> None:
    """The CPU's values are those of the reference code (tests/models/test_golden.py)."""
    expected, losses = stepped(name, torch.device("cpu"), Execution())
    found, found_losses = stepped(name, device, Execution())
    assert found_losses == pytest.approx(losses, rel=1e-4)
    found = copy.deepcopy(found).to("cpu")
    for objective in (expected, found):
        for network in reference_networks(objective).values():
            assert all(weight.isfinite().all() for weight in network.parameters())
    for key, network in reference_networks(expected).items():
        # Where a gradient is almost 0, rounding decides the sign of Adam's step.
        assert not follows(network, reference_weights(reference_networks(found)[key]), RATE), key


@pytest.mark.parametrize("name", CASES)
def test_bf16_loses_as_much_as_float32_within_its_rounding(name: str, device: torch.device) -> None:
    _, losses = stepped(name, device, Execution())
    _, found = stepped(name, device, Execution(precision="bf16"))
    assert found == pytest.approx(losses, rel=0.05)
    assert found != losses
