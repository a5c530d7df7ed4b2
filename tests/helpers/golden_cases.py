"""The golden cases: values of the released reference code, and models with the weights of a case.

The cases lie in tests/golden, or in the folder that GOLDEN_DIR names; networks take their widths, depths and sizes
from the weights and images of a case.
"""

import copy
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.configs.cut import CUT
from models.configs.cyclegan import CycleGANConfig
from models.configs.images import ImageShape
from models.contrast.contrast import CUTRandomness
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.networks.layers import InstanceNorm
from models.reference.checkpoint import (
    layers_of,
    load_reference_weights,
    read_discriminator,
    read_generator,
    reference_networks,
)

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parent.parent / "golden"))
FILES = {path.stem: path for path in sorted(GOLDEN.glob("*.pt"))}
assert FILES, f"no golden cases in {GOLDEN}"
CASES = {name: torch.load(path, weights_only=True) for name, path in FILES.items()}
CUT_CASES = [name for name, case in CASES.items() if "G" in case]
CYCLEGAN_CASES = [name for name, case in CASES.items() if "G_A" in case]


def cut_of(case: dict[str, Any]) -> CUTObjective:
    generator, discriminator = read_generator(case["G"], "G"), read_discriminator(case["D"], "D")
    config = replace(
        CUT,
        generator=generator.config,
        discriminator=discriminator.config,
        temperature=case["temperature"],
        places=layers_of(case["nce_layers"], generator),
        num_patches=case["num_patches"],
        projection_units=case["netF_nc"],
        negatives=("minibatch",) if case["all_negatives_from_minibatch"] else ("internal",),
        nce_weight=case["lambda_NCE"],
        identity_weight=float(case["nce_idt"]),
        flip_equivariance="flipped" in case,
    )
    objective = CUTObjective(config, shape_of(case), torch.Generator())
    fill_from(case, objective)
    return objective


def cyclegan_of(case: dict[str, Any]) -> CycleGANObjective:
    config = CycleGANConfig(
        generator=read_generator(case["G_A"], "G_A").config,
        discriminator=read_discriminator(case["D_A"], "D_A").config,
        cycle_weight=case["lambda_A"],
        identity_weight=case["lambda_identity"],
    )
    objective = CycleGANObjective(config, shape_of(case), torch.Generator())
    fill_from(case, objective)
    return objective


def shape_of(case: dict[str, Any]) -> ImageShape:
    (_, channels_a, height, width), (_, channels_b, _, _) = case["real_A"].shape, case["real_B"].shape
    return ImageShape(height, width, channels_a, channels_b)


def fill_from(case: dict[str, Any], objective: CUTObjective | CycleGANObjective) -> None:
    for name, network in reference_networks(objective).items():
        load_reference_weights(network, case[name], name)


def randomness_of(case: dict[str, Any], objective: CUTObjective) -> CUTRandomness:
    ids = {
        domain: dict(zip(objective.positions, case[f"patch_ids_{domain.upper()}"], strict=True))
        for domain in objective.domain_weights
    }
    return CUTRandomness(case.get("flipped", False), ids)


def biases_before_norms(network: nn.Module) -> set[str]:
    """Return the names of the biases whose true gradient is 0, because a norm takes away what they add."""
    layers = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    return {f"{name}.bias" for (name, _), (_, behind) in pairwise(layers) if isinstance(behind, InstanceNorm)}


def follows(network: nn.Module, after: dict[str, Tensor], lr: float) -> str:
    """'' where each weight is what the reference has after the step, else the first that is not.

    Adam's first step is lr * sign(gradient): where a gradient is rounding alone (a bias before a norm, or a thousandth
    of its tensor's largest), its sign is random, so there a weight may differ by two steps. Elsewhere one weight
    of a network in a thousand may. A gradient of exactly 0, as in a dead unit, moves no weight at all.
    """
    theirs = copy.deepcopy(network)
    load_reference_weights(theirs, after, "after the step")
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    before_norms = biases_before_norms(network)
    compared = astray = total = 0
    for (name, ours), expected in zip(network.state_dict().items(), theirs.state_dict().values(), strict=True):
        difference = (ours - expected).abs()
        if name not in gradients:  # a filter, not trained
            if not torch.equal(ours, expected):
                return name
            continue
        gradient, known = gradients[name].abs(), name not in before_norms
        settled, still = known & (gradient > 1e-3 * gradient.max()), known & (gradient == 0)
        total, compared = total + ours.numel(), compared + int((settled | still).sum())
        if not torch.equal(ours[still], expected[still]):
            return name
        astray += int((difference[settled] >= 2e-5).sum())
        if not (difference < 2.05 * lr).all() or astray > sum(tensor.numel() for tensor in after.values()) // 1000:
            return name
    assert compared > 0.85 * total
    return ""
