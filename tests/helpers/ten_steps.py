"""Ten steps in float64, one after the other, as golden cases. `PYTHONPATH=. python tests/helpers/ten_steps.py` makes
the files in tests/golden/ten_steps anew.

They are made by the plain statement of the reference code's step (`models/reference/step.py`). Weights and images at
the start are those of a one-step case, in float64. Step n, from 0, shifts the images by 3n rows and 5n columns. The
seed of the draws is 0, and a file holds them. So another implementation can take the same steps.

A file holds: draws, by step; losses, by 'phase/name', each (10,); weights after the last step, by network and by the
reference code's name. Of each tensor it keeps at most 32 values, evenly spaced, to be small.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from golden_cases import biases_before_norms, cut_of, cyclegan_of, fill_from
from torch import Tensor
from torch.utils._pytree import tree_map_only

from models.build import build_objective
from models.contrast.contrast import CUTRandomness
from models.cyclegan import CycleGANRandomness
from models.image_pool import PoolChoices
from models.objective import Batch
from models.reference.checkpoint import reference_networks, reference_weights
from models.reference.step import build_reference, reference_optimizers, reference_step
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = GOLDEN / "ten_steps"
STARTS = {"cut": "cut", "fastcut": "fastcut_flipped", "cyclegan": "cyclegan"}
STEPS, KEPT = 10, 32
# So small that ten images fill the pools and are handed out again.
POOL_SIZE = 3
# CycleGAN's two discriminators are one phase of our step, and two of the reference's.
RENAMED = {f"discriminator/{part}_{d}": f"discriminator_{d}/{part}" for part in ("real", "fake") for d in "ab"}


@dataclass(frozen=True)
class Implementation:
    """How a model and its optimisers are built, and how a step is taken."""

    build: Callable[..., Any]
    optimizers: Callable[..., Any]
    step: Callable[..., dict[str, Tensor]]


OURS = Implementation(build_objective, make_optimizers, train_step)
REFERENCE = Implementation(build_reference, reference_optimizers, reference_step)


@cache
def start_of(name: str) -> dict[str, Any]:
    """Return the one-step case with a method's settings, and its weights and images at the start."""
    return torch.load(GOLDEN / f"{STARTS[name]}.pt", weights_only=True)


def model_of(name: str, build: Callable[..., Any]) -> Any:
    """Build a method's model with the weights of its start, in float64."""
    case = start_of(name)
    plain = cut_of(case) if "G" in case else cyclegan_of(case)
    config = plain.config if "G" in case else replace(plain.config, pool_size=POOL_SIZE)
    model = build(config, plain.shape, torch.Generator())
    fill_from(case, model)
    return model.double()


def batches_of(name: str) -> list[Batch]:
    a, b = (start_of(name)[f"real_{domain}"].double() for domain in "AB")
    shifts = [(3 * number, 5 * number) for number in range(STEPS)]
    return [Batch(a.roll(shift, (-2, -1)), b.roll(shift, (-2, -1))) for shift in shifts]


def sample_draws(name: str) -> list[dict[str, Any]]:
    model, rng = model_of(name, build_objective), torch.Generator().manual_seed(0)
    draws: list[dict[str, Any]] = []
    counts = model.counts
    for _ in range(STEPS):
        drawn, counts = model.sample_randomness(1, rng, counts)
        # Copies, because patch ids are a slice of a permutation, which the file would hold.
        # What only later choices than CUT's sample stays out of the files.
        sampled = {name: value for name, value in asdict(drawn).items() if name not in ("noise", "gamma")}
        draws.append(tree_map_only(Tensor, torch.clone, sampled))
    return draws


def given(draws: dict[str, Any]) -> CUTRandomness | CycleGANRandomness:
    """Return a step's draws, as a file holds them, in the type that a step takes."""
    if "flipped" in draws:
        return CUTRandomness(**draws)
    return CycleGANRandomness(**{pool: PoolChoices(**choices) for pool, choices in draws.items()})


def take_steps(
    name: str, implementation: Implementation, draws: list[dict[str, Any]]
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Take the ten steps. Return each loss (10,), and all weights after the last step, by network and tensor."""
    case, model = start_of(name), model_of(name, implementation.build)
    optimizers = implementation.optimizers(model, case["lr"], (case["beta1"], case["beta2"]))
    reports = [
        implementation.step(model, optimizers, batch, given(drawn))
        for batch, drawn in zip(batches_of(name), draws, strict=True)
    ]
    losses = {RENAMED.get(key, key): torch.stack([report[key] for report in reports]) for key in reports[0]}
    return losses, {key: reference_weights(network) for key, network in reference_networks(model).items()}


def kept_of(weights: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return the values of each tensor that a file keeps."""
    return {
        network: {name: tensor.flatten()[:: -(-tensor.numel() // KEPT)].clone() for name, tensor in tensors.items()}
        for network, tensors in weights.items()
    }


def moved_by_rounding(name: str) -> dict[str, set[str]]:
    """Return the biases of each network whose true gradient is 0, by the reference code's names."""
    return {
        key: {
            theirs
            for ours, theirs in zip(network.state_dict(), reference_weights(network), strict=True)
            if ours in biases_before_norms(network)
        }
        for key, network in reference_networks(model_of(name, build_objective)).items()
    }


def make_case(name: str) -> dict[str, Any]:
    draws = sample_draws(name)
    losses, weights = take_steps(name, REFERENCE, draws)
    return {"draws": draws, "losses": losses, "weights": kept_of(weights)}


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for method in STARTS:
        torch.save(make_case(method), FILES / f"{method}.pt")
