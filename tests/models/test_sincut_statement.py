"""SinCUT against a plain statement of its equations (tests/helpers/sincut_statement.py), in float64."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from sincut_statement import Statement, encode, judge, translate
from torch import Tensor

from models.build import build_objective
from models.configs.images import ImageShape
from models.configs.sincut import SINCUT, SinCUTConfig, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.objective import Batch, sample_step
from models.reference.checkpoint import load_reference_weights, reference_networks, reference_weights
from models.sincut import SinCUTObjective
from pipeline.config.compose import compose_config
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
# The smallest networks for crops of 64 x 64, and wider ones, with more patches, for smaller crops.
THIN = replace(SINCUT, generator=StyleGeneratorConfig(1), discriminator=StyleDiscriminatorConfig(1), projection_units=8)
UNEVEN = replace(
    THIN,
    generator=StyleGeneratorConfig(1, start_size=16),
    num_patches=3,
    places=("stem", "res1", "res3"),
    nce_weight=3.0,
    identity_weight=0.5,
    pixel_identity_weight=2.0,
    r1_weight=5.0,
)
TRAIN = compose_config(["model=sincut", "task=single", "data.root=none"]).train


def built(config: SinCUTConfig, size: int) -> tuple[SinCUTObjective, Statement]:
    """A model with weights, biases and weight of noise that are not 0, and the statement of it."""
    rng = torch.Generator().manual_seed(0)
    objective = build_objective(config, ImageShape(size, size), rng).double()
    assert isinstance(objective, SinCUTObjective)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    networks = reference_networks(objective)
    numbers = {"pixels": 0, "stem": 1, "down": 2, "res1": 3, "res2": 4, "res3": 5}
    c = objective.config
    weights = ({key: value.clone() for key, value in reference_weights(networks[name]).items()} for name in "GDF")
    layers = tuple(numbers[place] for place in objective.positions)
    weighed = (c.temperature, c.nce_weight, c.identity_weight, c.pixel_identity_weight, c.r1_weight)
    # Rate and betas are the statement's own.
    return objective, Statement(*weights, layers, *weighed)


def gradients_of(network: Any) -> dict[str, Tensor]:
    """The gradients of a network's weights, by the released names."""
    copied = copy.deepcopy(network)
    for own, trained in zip(copied.parameters(), network.parameters(), strict=True):
        own.data = trained.grad
    return reference_weights(copied)


def crops(size: int, seed: int, count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    a, b = 2 * torch.rand(2, count, 3, size, size, generator=rng, dtype=torch.float64) - 1
    return a, b


@pytest.mark.parametrize(("config", "size"), [(THIN, 64), (UNEVEN, 16)], ids=["as released", "uneven"])
def test_two_steps_have_the_losses_gradients_and_weights_of_the_statement(config: SinCUTConfig, size: int) -> None:
    objective, statement = built(config, size)
    optimizers = make_optimizers(objective, TRAIN.learning_rate, (TRAIN.beta1, TRAIN.beta2))
    networks, rng = reference_networks(objective), torch.Generator().manual_seed(1)
    for step in range(2):
        a, b = crops(size, step, 2 if size > 16 else 3)
        draws = sample_step(objective, len(a), rng)
        found = train_step(objective, optimizers, Batch(a, b), draws)
        places = {domain: [ids.tolist() for ids in layers.values()] for domain, layers in draws.patch_ids.items()}
        expected = statement.step(a, b, draws.noise, places)
        assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)
        for name, weights in (("G", statement.generator), ("D", statement.discriminator), ("F", statement.heads)):
            after, gradients = reference_weights(networks[name]), gradients_of(networks[name])
            assert after.keys() == weights.keys()
            for key, weight in weights.items():
                torch.testing.assert_close(after[key], weight, **CLOSE)
            for key, gradient in statement.gradients[name].items():
                torch.testing.assert_close(gradients[key], gradient, **CLOSE)


def test_features_translation_and_scores_are_the_statements() -> None:
    objective, statement = built(THIN, 64)
    a, _ = crops(64, 0, 2)
    noise = torch.randn(2, 1, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    output, features = objective.generator(a, ("pixels", "stem", "down", "res1", "res2", "res3"), noise)
    for ours, theirs in zip(features.values(), encode(a, statement.generator), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    torch.testing.assert_close(output, translate(a, noise, statement.generator), **CLOSE)
    torch.testing.assert_close(objective.discriminator(a)[:, 0], judge(a, statement.discriminator), **CLOSE)


def test_rectangles_are_translated_as_the_statement_does() -> None:
    objective, statement = built(THIN, 64)
    image = torch.rand(1, 3, 20, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 1, 20, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = translate(image, noise, statement.generator)
    torch.testing.assert_close(objective.translator.translate(image, noise), expected, **CLOSE)


def test_weights_under_the_released_names_are_read_as_they_were_written() -> None:
    objective, statement = built(THIN, 64)
    other, _ = built(UNEVEN, 16)
    assert objective.config.generator.widths != other.config.generator.widths
    again = build_objective(THIN, ImageShape(64, 64), torch.Generator().manual_seed(5)).double()
    for name, weights in (("G", statement.generator), ("D", statement.discriminator), ("F", statement.heads)):
        load_reference_weights(reference_networks(again)[name], weights, name)
    states = again.state_dict(), objective.state_dict()
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
