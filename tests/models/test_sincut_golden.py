"""SinCUT against values of the released networks (tests/golden/sincut/step.pt)."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from models.build import build_objective
from models.configs.images import ImageShape
from models.configs.sincut import SINCUT, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.objective import Batch
from models.reference.checkpoint import load_reference_weights, reference_networks, reference_weights
from models.sincut import SinCUTObjective, SinCUTRandomness
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

CASE: dict[str, Any] = torch.load(Path(__file__).parents[1] / "golden/sincut/step.pt", weights_only=True)
# Ours, and the factor of its weight, by the released names.
LOSSES = {
    "D_real": ("discriminator/real", 0.5),
    "D_fake": ("discriminator/fake", 0.5),
    "D_R1": ("discriminator/r1", 1.0),
    "G_GAN": ("generator/adversarial", 1.0),
    "NCE": ("generator/nce_a", 0.5),
    "NCE_Y": ("generator/nce_b", 0.5),
    "idt": ("generator/identity", 1.0),
}


def built() -> SinCUTObjective:
    """The networks with the case's weights, in float64."""
    settings = CASE["settings"]
    config = replace(
        SINCUT,
        generator=StyleGeneratorConfig(settings["ngf"], settings["crop_size"]),
        discriminator=StyleDiscriminatorConfig(settings["ndf"]),
        projection_units=settings["netF_nc"],
        num_patches=settings["num_patches"],
        temperature=settings["nce_T"],
        nce_weight=settings["lambda_NCE"],
        pixel_identity_weight=settings["lambda_identity"],
        r1_weight=settings["lambda_R1"],
    )
    size = settings["crop_size"]
    objective = build_objective(config, ImageShape(size, size), torch.Generator().manual_seed(0))
    assert isinstance(objective, SinCUTObjective)
    for name, network in reference_networks(objective).items():
        load_reference_weights(network, CASE["before"][name], name)
    return objective.double()


@cache
def stepped() -> tuple[SinCUTObjective, dict[str, float]]:
    objective, settings = built(), CASE["settings"]
    ids = {
        domain: dict(zip(objective.positions, CASE["patch_ids"][domain.upper()], strict=True)) for domain in ("a", "b")
    }
    noise = {domain: CASE["noise"][domain.upper()].double() for domain in ("a", "b")}
    optimizers = make_optimizers(objective, settings["lr"], (settings["beta1"], settings["beta2"]))
    batch = Batch(CASE["real_A"].double(), CASE["real_B"].double())
    losses = train_step(objective, optimizers, batch, SinCUTRandomness(ids, noise))
    return objective, {name: float(loss) for name, loss in losses.items()}


def test_features_translation_and_scores_are_those_of_the_released_networks() -> None:
    objective, noise = built(), CASE["noise"]["A"].double()
    real_a, real_b = CASE["real_A"].double(), CASE["real_B"].double()
    with torch.no_grad():
        translation, features = objective.generator(real_a, ["res2"], noise)
        real, fake = objective.discriminator(real_b), objective.discriminator(translation)
    torch.testing.assert_close(features["res2"].float(), CASE["features"][4])
    torch.testing.assert_close(translation.float(), CASE["fake_B"])
    torch.testing.assert_close(real, CASE["pred_real"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fake, CASE["pred_fake"], rtol=1e-9, atol=1e-9)


def test_losses_of_a_step_are_those_of_the_released_code() -> None:
    _, losses = stepped()
    expected = {name: weight * CASE["losses"][released] for released, (name, weight) in LOSSES.items()}
    assert losses == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["G", "D", "F"])
def test_weights_after_a_step_are_those_of_the_released_code(name: str) -> None:
    """All but the largest tensor, which would double the file."""
    objective, _ = stepped()
    found = reference_weights(reference_networks(objective)[name])
    assert found.keys() == CASE["before"][name].keys()
    for key, expected in CASE["after"][name].items():
        torch.testing.assert_close(found[key].float(), expected, rtol=1e-6, atol=1e-7, msg=key)
