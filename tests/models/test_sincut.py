import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from models.build import build_objective
from models.configs.execution import Execution
from models.configs.images import ImageShape
from models.configs.sincut import SINCUT, SinCUTConfig, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.execution import apply_execution
from models.losses import non_saturating, r1_penalty
from models.networks.projector import Projector
from models.networks.stylegan2 import StyleDiscriminator
from models.networks.stylegan2_layers import initialise_scaled
from models.objective import ALONE, Batch, Ranks, sample_step
from models.sincut import SinCUTObjective
from pipeline.training.loop import train_step
from pipeline.training.state import TrainState, make_optimizers

TINY = replace(
    SINCUT,
    generator=StyleGeneratorConfig(1, start_size=16),
    discriminator=StyleDiscriminatorConfig(1),
    projection_units=8,
)
BETAS = (0.0, 0.99)


def built(config: SinCUTConfig = TINY, shape: ImageShape | None = None, seed: int = 0) -> SinCUTObjective:
    objective = build_objective(config, shape or ImageShape(16, 16), torch.Generator().manual_seed(seed))
    assert isinstance(objective, SinCUTObjective)
    return objective


def batch(count: int = 4, channels: tuple[int, int] = (3, 3), dtype: torch.dtype = torch.float32) -> Batch:
    rng = torch.Generator().manual_seed(1)
    a, b = (2 * torch.rand(count, each, 16, 16, generator=rng, dtype=dtype) - 1 for each in channels)
    return Batch(a, b)


@cache
def stepped(execution: Execution, dtype: torch.dtype) -> tuple[SinCUTObjective, dict[str, float]]:
    """A model after two steps, and its losses in the second."""
    objective = built().to(dtype)
    apply_execution(objective, execution)
    optimizers, rng = make_optimizers(objective, 0.002, BETAS), torch.Generator().manual_seed(2)
    for _ in range(2):
        found = train_step(objective, optimizers, batch(2, dtype=dtype), sample_step(objective, 2, rng), execution)
    return objective, {name: float(loss) for name, loss in found.items()}


def test_the_heads_have_the_weights_of_the_released_ones() -> None:
    channels = SINCUT.generator.layer_channels()
    projector = Projector({place: channels[place] for place in SINCUT.places}, SINCUT.projection_units)
    assert sum(weight.numel() for weight in projector.parameters()) == 280_832


def test_each_phase_gives_gradients_to_its_own_weights_alone() -> None:
    objective, rng = built(), torch.Generator().manual_seed(0)
    given = batch()
    fakes = objective.generate(given, sample_step(objective, 4, rng))
    others = {"discriminator": "generator", "generator": "discriminator"}
    assert objective.phases == ("discriminator", "generator")
    for phase in objective.phases:
        objective.zero_grad()
        torch.stack(list(objective.losses(phase, given, fakes).values())).sum().backward()
        assert all(weight.grad is not None for weight in objective.parameters_of(phase))
        assert all(weight.grad is None for weight in objective.parameters_of(others[phase]))
    assert given.b.grad is None and not given.b.requires_grad


def test_r1_is_the_squared_length_of_the_scores_slope() -> None:
    network = StyleDiscriminator(StyleDiscriminatorConfig(1), 8, in_channels=1).double()
    initialise_scaled(network, torch.Generator().manual_seed(0))
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = r1_penalty(network(images), images)
    shifts, total = 1e-6 * torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8), 0.0
    with torch.no_grad():
        for one in images:
            slopes = (network(one + shifts) - network(one - shifts)) / 2e-6
            total += float(slopes.square().sum())
    assert float(found.detach()) == pytest.approx(0.5 * total / 2, rel=1e-6)


def test_non_saturating_losses_are_minus_the_log_of_the_probability() -> None:
    scores = torch.tensor([[-2.0], [0.5]])
    torch.testing.assert_close(non_saturating(scores, real=True), -scores.sigmoid().log().mean())
    torch.testing.assert_close(non_saturating(scores, real=False), -(1 - scores.sigmoid()).log().mean())


def test_crops_share_their_places_and_have_their_own_noise() -> None:
    objective = built(replace(TINY, num_patches=2))
    first, _ = objective.sample_randomness(3, torch.Generator().manual_seed(0), {})
    again, _ = objective.sample_randomness(3, torch.Generator().manual_seed(0), {})
    for layers in first.patch_ids.values():
        assert {layer: len(ids) for layer, ids in layers.items()} == {"pixels": 2, "down": 2, "res2": 2}
    assert not torch.equal(first.patch_ids["a"]["pixels"], first.patch_ids["b"]["pixels"])
    assert first.noise["a"].shape == (3, 1, 16, 16)
    assert len({float(noise[0, 0, 0]) for domain in ("a", "b") for noise in first.noise[domain]}) == 6
    assert all(torch.equal(first.noise[domain], again.noise[domain]) for domain in ("a", "b"))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, {"adversarial", "nce_a", "nce_b", "identity"}),
        ({"identity_weight": 0.0}, {"adversarial", "nce_a", "identity"}),
        ({"pixel_identity_weight": 0.0}, {"adversarial", "nce_a", "nce_b"}),
        ({"identity_weight": 0.0, "pixel_identity_weight": 0.0}, {"adversarial", "nce_a"}),
        ({"nce_weight": 0.0}, {"adversarial", "identity"}),
        ({"nce_weight": 0.0, "pixel_identity_weight": 0.0, "r1_weight": 0.0}, {"adversarial"}),
    ],
)
def test_a_weight_of_0_leaves_its_loss_out_and_changes_no_other(change: dict[str, float], names: set[str]) -> None:
    def losses(config: SinCUTConfig) -> dict[str, Tensor]:
        objective, given = built(config), batch()
        fakes = objective.generate(given, sample_step(objective, 4, torch.Generator().manual_seed(0)))
        assert ("b" in fakes.outputs) == config.translates_b
        found = {phase: objective.losses(phase, given, fakes) for phase in objective.phases}
        expected = {"real", "fake", "r1"} if config.r1_weight else {"real", "fake"}
        assert set(found["discriminator"]) == expected
        return found["generator"]

    found = losses(replace(TINY, **change))
    assert set(found) == names
    assert all(bool(loss.isfinite()) for loss in found.values())


@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1)])
def test_gray_domains_train(channels: tuple[int, int]) -> None:
    objective, given = built(shape=ImageShape(16, 16, *channels)), batch(2, channels)
    draws = sample_step(objective, 2, torch.Generator().manual_seed(0))
    losses = train_step(objective, make_optimizers(objective, 0.002, BETAS), given, draws)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert objective.translator.translate(given.a).shape == (2, channels[1], 16, 16)


@pytest.mark.parametrize(
    "execution",
    [Execution(channels_last=True), Execution(recompute=True), Execution(channels_last=True, recompute=True)],
    ids=["channels last", "recompute", "both"],
)
def test_an_exact_switch_changes_neither_losses_nor_weights(execution: Execution) -> None:
    expected, losses = stepped(Execution(), torch.float64)
    found, found_losses = stepped(execution, torch.float64)
    assert found_losses == pytest.approx(losses, rel=1e-9)
    for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, check_stride=False)


def test_bf16_loses_as_much_as_float32_within_its_rounding() -> None:
    _, losses = stepped(Execution(), torch.float32)
    _, found = stepped(Execution("bf16", channels_last=True), torch.float32)
    assert found == pytest.approx(losses, rel=0.1)
    assert found != losses


def in_order(tensors: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that returns the next tensor with each call."""
    left = iter(tensors)
    return lambda _: next(left)


def test_two_processes_have_the_losses_and_gradients_of_one() -> None:
    objective = built().double()
    whole, draws = batch(dtype=torch.float64), sample_step(objective, 4, torch.Generator().manual_seed(0))
    parts = [Batch(a, b) for a, b in zip(whole.a.chunk(2), whole.b.chunk(2), strict=True)]
    sent: list[list[Tensor]] = [[], []]
    for rank, part in enumerate(parts):

        def note(tensor: Tensor, rank: int = rank) -> Tensor:
            sent[rank].append(tensor)
            return torch.cat([tensor, tensor])

        objective.generate(part, draws, Ranks(rank, 2, note))
    gathered = [torch.cat(pair) for pair in zip(*sent, strict=True)]

    def computed(given: Batch, ranks: Ranks) -> dict[str, Tensor]:
        """The losses of all phases and their gradients, by name."""
        fakes, found = objective.generate(given, draws, ranks), dict[str, Tensor]()
        for phase in objective.phases:
            losses = objective.losses(phase, given, fakes)
            gradients = torch.autograd.grad(torch.stack(list(losses.values())).sum(), objective.parameters_of(phase))
            found |= {**losses, **{f"{phase} {number}": gradient for number, gradient in enumerate(gradients)}}
        return found

    expected = computed(whole, ALONE)
    both = [computed(part, Ranks(rank, 2, in_order(gathered))) for rank, part in enumerate(parts)]
    for name, value in expected.items():
        torch.testing.assert_close((both[0][name] + both[1][name]) / 2, value, rtol=1e-9, atol=1e-12)


def test_a_resumed_step_equals_the_uninterrupted_one() -> None:
    def state(seed: int) -> TrainState:
        objective = built(seed=seed)
        return TrainState(objective, make_optimizers(objective, 0.002, BETAS))

    def step(trained: TrainState, seed: int) -> dict[str, Tensor]:
        draws = sample_step(trained.objective, 4, torch.Generator().manual_seed(seed))
        return train_step(trained.objective, trained.optimizers, batch(), draws)

    first, resumed = state(0), state(1)
    step(first, 0)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    expected, found = step(first, 1), step(resumed, 1)
    assert all(torch.equal(found[name], loss) for name, loss in expected.items())
    after, before = resumed.objective.state_dict(), first.objective.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
