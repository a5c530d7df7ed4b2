"""The step of the reference code: the same values as ours, at the reference code's cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_cases import CASES, cut_of, cyclegan_of, fill_from, follows, randomness_of
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from models.build import build_objective
from models.configs.cut import CUT, FASTCUT, CUTConfig
from models.configs.cyclegan import CYCLEGAN
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.image_pool import ImagePool
from models.objective import Batch, sample_step
from models.reference.checkpoint import reference_networks, reference_weights
from models.reference.step import GrowingPool, build_reference, reference_optimizers, reference_step
from pipeline.hardware.memory import GB, LiveTensors
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

RATE, BETAS = 2e-4, (0.5, 0.999)
# The kinds of step: settings, and whether the sources are flipped.
STEPS: dict[str, tuple[ModelConfig, bool]] = {
    "cut": (CUT, False),
    "fastcut": (FASTCUT, False),
    "fastcut_flipped": (FASTCUT, True),
    "cyclegan": (CYCLEGAN, False),
}


def small(config: ModelConfig) -> Any:
    few = {"num_patches": 8, "projection_units": 8} if isinstance(config, CUTConfig) else {}
    return replace(config, generator=GeneratorConfig(4, 5), discriminator=DiscriminatorConfig(4, 3), **few)


def shallow(config: ModelConfig) -> Any:
    """Few operations, since counting them takes time. The kinds of operations are those of the whole model."""
    places = {"places": ("pixels", "down2", "res1")} if isinstance(config, CUTConfig) else {}
    return replace(small(config), generator=GeneratorConfig(4, 1), **places)


def batch_of(shape: ImageShape) -> Batch:
    images = torch.rand(2, 1, 3, shape.height, shape.width, generator=torch.Generator().manual_seed(3))
    return Batch(*(2 * images - 1))


def reference_steps(config: ModelConfig, shape: ImageShape, *, flipped: bool, faked: bool) -> Callable[[], object]:
    """Return a function that takes one reference step per call. faked: on tensors without values."""
    objective: Any = build_reference(config, shape, torch.Generator().manual_seed(0))
    batch = batch_of(shape)
    if faked:
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        batch = Batch(mode.from_tensor(batch.a), mode.from_tensor(batch.b))
        for module in objective.modules():
            for tensors in (module._parameters, module._buffers):
                # Counters stay, since the step asks for their values.
                tensors |= {name: mode.from_tensor(t) for name, t in tensors.items() if t is not None and t.dim() > 0}
    optimizers = reference_optimizers(objective, RATE, BETAS)
    if isinstance(config, CUTConfig):
        sample = objective.sample_randomness

        def sample_with_flip(*arguments: Any) -> Any:
            randomness, counts = sample(*arguments)
            return replace(randomness, flipped=flipped), counts

        objective.sample_randomness = sample_with_flip
    rng = torch.Generator().manual_seed(1)
    return lambda: reference_step(objective, optimizers, batch, sample_step(objective, len(batch.a), rng))


def one_reference_step(objective: Any) -> dict[str, torch.Tensor]:
    draws = sample_step(objective, 1, torch.Generator())
    return reference_step(objective, reference_optimizers(objective, RATE, BETAS), batch_of(ImageShape(32, 32)), draws)


def cost(step: Callable[[], object]) -> tuple[float, float]:
    """10^12 operations of a step, and GB of live tensors at its peak, everything since the first counted.

    Not both in one step: counting operations keeps tensors alive.
    """
    with LiveTensors() as counter:
        step()
        step()
    with FlopCounterMode(display=False) as operations:
        step()
    return operations.get_total_flops() / 1e12, counter.peak_bytes / GB


@pytest.mark.parametrize("name", CASES)
def test_reference_step_has_our_losses_and_ends_with_our_weights(name: str) -> None:
    """On the golden cases, which cover every variant. Other tests compare our step with their values."""
    case = CASES[name]
    ours: Any = cut_of(case) if "G" in case else cyclegan_of(case)
    theirs: Any = build_reference(ours.config, ours.shape, torch.Generator())
    fill_from(case, theirs)
    batch = Batch(case["real_A"], case["real_B"])
    draws = randomness_of(case, ours) if "G" in case else sample_step(ours, len(batch.a), torch.Generator())
    expected = train_step(ours, make_optimizers(ours, RATE, BETAS), batch, draws)
    found = reference_step(theirs, reference_optimizers(theirs, RATE, BETAS), batch, draws)

    # CycleGAN's two discriminators are two phases there, and one here.
    renamed = {f"discriminator/{part}_{d}": f"discriminator_{d}/{part}" for part in ("real", "fake") for d in "ab"}
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(
        {renamed.get(name, name): float(loss) for name, loss in expected.items()}, rel=1e-4
    )
    for key, network in reference_networks(ours).items():
        assert not follows(reference_networks(theirs)[key], reference_weights(network), RATE), key


@pytest.mark.parametrize("config", [CUT, FASTCUT, CYCLEGAN])
def test_reference_model_starts_with_our_weights(config: ModelConfig) -> None:
    shape = ImageShape(32, 32)
    ours, theirs = (
        build(small(config), shape, torch.Generator().manual_seed(0)) for build in (build_objective, build_reference)
    )
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two)


def test_sources_are_encoded_again_for_each_domain_and_scored_in_two_passes() -> None:
    objective: Any = build_reference(small(CUT), ImageShape(32, 32), torch.Generator())
    sizes: dict[str, list[int]] = {"encoder": [], "discriminator": []}

    def note(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _, inputs, __: sizes[name].append(len(inputs[0])))

    note("encoder", objective.generator.stages["res1"])
    note("discriminator", objective.discriminator)
    one_reference_step(objective)
    assert sizes == {"encoder": [2, 1, 1, 1, 1], "discriminator": [1, 1, 1]}


def test_a_weight_of_zero_is_a_plain_gan() -> None:
    objective = build_reference(replace(small(CUT), nce_weight=0.0), ImageShape(32, 32), torch.Generator())
    report = one_reference_step(objective)
    assert list(report) == ["discriminator/real", "discriminator/fake", "generator/adversarial"]


def test_growing_pool_hands_out_what_the_reserved_one_does() -> None:
    fakes = [torch.full((2, 1, 1, 1), float(number)) for number in range(40)]
    handed = []
    for pool in (ImagePool(7, (1, 1, 1)), GrowingPool(7)):
        rng = torch.Generator().manual_seed(0)
        filled = 0
        images: list[list[float]] = []
        for fake in fakes:
            drawn, filled = pool.sample(2, rng, filled)
            images.append(pool.exchange(fake, drawn).flatten().tolist())
        handed.append(images)
    assert handed[0] == handed[1]


@pytest.mark.parametrize("name", STEPS)
def test_cost_counted_without_values_is_the_cost(name: str) -> None:
    config, flipped = STEPS[name]
    found, expected = (
        cost(reference_steps(shallow(config), ImageShape(32, 32), flipped=flipped, faked=faked))
        for faked in (True, False)
    )
    assert found[0] == expected[0]
    # On real tensors the mean squared error keeps the room of its unreduced map of 2 x 2 scores, 12 bytes a loss.
    assert 0 <= (expected[1] - found[1]) * GB < 100
