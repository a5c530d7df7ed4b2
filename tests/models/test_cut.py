from dataclasses import replace

import pytest
import torch
from torch import nn

from models.build import build_objective
from models.configs.cut import CUT, FASTCUT, CUTConfig
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.contrast.contrast import CUTFakes
from models.cut import CUTObjective
from models.objective import Batch, sample_step

TINY = replace(
    CUT, generator=GeneratorConfig(4, 5), discriminator=DiscriminatorConfig(4, 2), num_patches=8, projection_units=8
)


def objective_of(config: CUTConfig = TINY):
    return build_objective(config, ImageShape(16, 16), torch.Generator().manual_seed(0))


def batch(size: int = 1) -> Batch:
    rng = torch.Generator().manual_seed(3)
    return Batch(torch.rand(size, 3, 16, 16, generator=rng), torch.rand(size, 3, 16, 16, generator=rng))


def generated(objective: CUTObjective, images: Batch, seed: int = 0) -> CUTFakes:
    return objective.generate(images, sample_step(objective, len(images.a), torch.Generator().manual_seed(seed)))


def count_calls(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("size", [1, 2])
def test_keys_come_from_the_features_of_the_forward_pass_and_equal_encoding_again(size: int) -> None:
    objective, images = objective_of(), batch(size)
    randomness = sample_step(objective, size, torch.Generator().manual_seed(1))
    fakes = objective.forward(images, randomness)
    for domain, image in (("a", images.a), ("b", images.b)):
        again = objective.projector(
            objective.generator.encode(image, objective.positions), randomness.patch_ids[domain]
        )
        for layer, key in fakes.contrasts[domain].keys.items():
            torch.testing.assert_close(key, again[layer], rtol=1e-4, atol=1e-5)
            assert not key.requires_grad


@pytest.mark.parametrize(("config", "flipped", "passes"), [(TINY, False, 2), (FASTCUT, False, 2), (FASTCUT, True, 3)])
def test_encoder_runs_once_on_the_sources_and_once_on_the_outputs(
    config: CUTConfig, flipped: bool, passes: int
) -> None:
    """Only a flipped step also encodes the unflipped sources."""
    tiny = replace(
        config, generator=TINY.generator, discriminator=TINY.discriminator, num_patches=8, projection_units=8
    )
    objective = objective_of(tiny)
    calls = count_calls(objective.generator.stages["res1"])
    randomness = replace(sample_step(objective, 1, torch.Generator()), flipped=flipped)
    objective.losses("generator", batch(), objective.forward(batch(), randomness))
    assert len(calls) == passes


def test_losses_are_pure() -> None:
    objective, images = objective_of(), batch()
    fakes = generated(objective, images, 1)
    for phase in objective.phases:
        first, second = (objective.losses(phase, images, fakes) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_same_draws_give_the_same_step() -> None:
    one, two = (generated(objective_of(), batch(), 5) for _ in range(2))
    assert torch.equal(one.b, two.b)
    assert all(torch.equal(one.contrasts["a"].ids[place], two.contrasts["a"].ids[place]) for place in CUT.places)


@pytest.mark.parametrize(("weight", "identity"), [(1.0, 1.0), (10.0, 0.0), (2.0, 0.5)])
def test_contrastive_terms_are_weighted_as_the_formula_says(weight: float, identity: float) -> None:
    """w * (NCE(A) + v * NCE(B)) / (1 + v)."""

    def terms(config: CUTConfig) -> dict[str, float]:
        objective = objective_of(config)
        fakes = generated(objective, batch(), 1)
        return {name: float(loss.detach()) for name, loss in objective.losses("generator", batch(), fakes).items()}

    plain = terms(replace(TINY, nce_weight=2.0))  # weighs both terms by one
    found = terms(replace(TINY, nce_weight=weight, identity_weight=identity))
    assert found["nce_a"] == pytest.approx(weight / (1 + identity) * plain["nce_a"], rel=1e-4)
    if identity:
        assert found["nce_b"] == pytest.approx(weight * identity / (1 + identity) * plain["nce_b"], rel=1e-4)
    else:
        assert "nce_b" not in found


def test_weight_zero_is_a_plain_gan() -> None:
    objective = objective_of(replace(TINY, nce_weight=0.0))
    fakes = generated(objective, batch())
    assert list(objective.losses("generator", batch(), fakes)) == ["adversarial"]


@pytest.mark.parametrize("places", [("pixels",), ("res5",), ("res5", "down1")])
def test_any_layers_can_be_used(places: tuple[str, ...]) -> None:
    objective = objective_of(replace(TINY, places=places))
    fakes = generated(objective, batch(), 1)
    assert set(fakes.contrasts["a"].keys) == set(places)
    assert float(objective.losses("generator", batch(), fakes)["nce_a"].detach()) > 0


def test_discriminator_phase_leaves_the_generator_without_gradients() -> None:
    objective = objective_of()
    fakes = generated(objective, batch())
    sum(objective.losses("discriminator", batch(), fakes).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in objective.generator.parameters())


def test_generator_phase_leaves_the_discriminator_without_gradients() -> None:
    objective = objective_of()
    fakes = generated(objective, batch())
    sum(objective.losses("generator", batch(), fakes).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in objective.discriminator.parameters())


def test_half_of_the_steps_are_flipped_where_flips_are_wanted_and_none_elsewhere() -> None:
    rng = torch.Generator().manual_seed(0)
    flipping, plain = objective_of(replace(TINY, flip_equivariance=True)), objective_of()
    assert 170 < sum(sample_step(flipping, 1, rng).flipped for _ in range(400)) < 230
    assert not any(sample_step(plain, 1, rng).flipped for _ in range(50))
