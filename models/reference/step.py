"""A training step as the released reference code takes it: the same values, at the reference code's cost.

Benchmarks compare our step's memory and operations with this one (docs/reproducing.md). Nothing trains with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.sincut import SinCUTConfig
from models.contrast.contrast import Contrast, CUTFakes, CUTRandomness
from models.cut import CUTObjective
from models.cyclegan import CycleGANFakes, CycleGANObjective
from models.image_pool import ImagePool, PoolChoices
from models.images import with_channels
from models.losses import lsgan
from models.networks.discriminator import Discriminator
from models.objective import ALONE, Batch, Objective, Ranks, frozen, on_device


def build_reference(config: ModelConfig, shape: ImageShape, rng: torch.Generator) -> "ReferenceCUT | ReferenceCycleGAN":
    """Build the model of `build_objective`, with the same weights, that works as the reference code does.

    Raises ValueError for SinCUT and DCLGAN, of which there is no such model.
    """
    match config:
        case CUTConfig():
            return ReferenceCUT(config, shape, rng)
        case CycleGANConfig():
            return ReferenceCycleGAN(config, shape, rng)
        case SinCUTConfig() | DCLGANConfig():
            raise ValueError(f"{config.method} has no plain step as the reference code takes it")


def reference_optimizers(
    objective: Objective, learning_rate: float, betas: tuple[float, float]
) -> dict[str, torch.optim.Adam]:
    """Make one Adam a phase, in torch's default form."""
    return {
        phase: torch.optim.Adam(objective.parameters_of(phase), lr=learning_rate, betas=betas)
        for phase in objective.phases
    }


def reference_step(
    objective: Objective, optimizers: Mapping[str, torch.optim.Optimizer], batch: Batch, randomness: Any
) -> dict[str, Tensor]:
    """Take one step of every phase, with what `sample_step` drew. Return the detached losses as 'phase/name'.

    A phase drops only its own gradients before its losses, so those of other phases are in memory beside its graph.
    """
    fakes = objective.generate(batch, randomness)
    report: dict[str, Tensor] = {}
    for phase in objective.phases:
        optimizers[phase].zero_grad()
        losses = objective.losses(phase, batch, fakes)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizers[phase].step()
        report |= {f"{phase}/{name}": loss.detach() for name, loss in losses.items()}
    return report


class ReferenceCUT(CUTObjective):
    """CUT that encodes its sources once more for the keys, one domain at a time, and scores images in two passes.

    Later choices, which the reference code does not have, are replaced by CUT's.
    """

    def __init__(self, config: CUTConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__(config.plain, shape, rng)

    def generate(self, batch: Batch, randomness: CUTRandomness, ranks: Ranks = ALONE) -> CUTFakes:
        return super().generate(batch, on_device(randomness, batch.a.device), ranks)

    def forward(self, batch: Batch, randomness: CUTRandomness) -> CUTFakes:
        """Translate. The losses compute the keys."""
        source = torch.cat(list(self._sources(batch).values()))
        output, _ = self.generator(source.flip(-1) if randomness.flipped else source)
        outputs = output.split(len(batch.a))
        # A plain GAN has an output and no contrast.
        pairs = zip(outputs, randomness.patch_ids.items(), strict=False)
        contrasts = {domain: Contrast(image, ids, {}) for image, (domain, ids) in pairs}
        return CUTFakes(outputs[0], randomness.flipped, contrasts)

    def losses(self, phase: str, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        if phase == "discriminator":
            return _two_pass_losses(self.discriminator, batch.b, fakes.b)
        losses = super().losses(phase, batch, replace(fakes, contrasts={}))
        sources = self._sources(batch)
        return losses | {f"nce_{domain}": self._nce_of(domain, sources[domain], fakes) for domain in fakes.contrasts}

    def _nce_of(self, domain: str, source: Tensor, fakes: CUTFakes) -> Tensor:
        """Return PatchNCE of one domain, weighted.

        The keys have a graph, though no gradient flows through it. It stays in memory until this returns, beside all
        that the backward pass needs.
        """
        contrast = fakes.contrasts[domain]
        output = with_channels(contrast.output, self.shape.channels_a)
        features = self.generator.encode(output, self.positions)
        if fakes.flipped:
            features = {layer: feature.flip(-1) for layer, feature in features.items()}
        source_features = self.generator.encode(source, self.positions)
        keys = self.projector(source_features, contrast.ids)
        queries = self.projector(features, contrast.ids)
        detached = replace(contrast, keys={layer: key.detach() for layer, key in keys.items()})
        return self._nce_losses({domain: detached.terms(queries)}, fakes)[f"nce_{domain}"]


class ReferenceCycleGAN(CycleGANObjective):
    """CycleGAN that updates one discriminator after the other, and whose pools grow with the images they hold."""

    phases = ("generator", "discriminator_b", "discriminator_a")

    def __init__(self, config: CycleGANConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__(config, shape, rng)
        self.pool_b, self.pool_a = GrowingPool(config.pool_size), GrowingPool(config.pool_size)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        match phase:
            case "discriminator_b":
                return list(self.judge_b.parameters())
            case "discriminator_a":
                return list(self.judge_a.parameters())
            case _:
                return super().parameters_of(phase)

    def losses(self, phase: str, batch: Batch, fakes: CycleGANFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator_b":
                return _two_pass_losses(self.judge_b, batch.b, fakes.pooled_b)
            case "discriminator_a":
                return _two_pass_losses(self.judge_a, batch.a, fakes.pooled_a)
            case "generator":
                # Identity first. The backward pass frees the last graph first, and the peak of memory is at its start.
                identity = self._identity_losses(batch)
                with frozen(self.judge_b, self.judge_a):
                    adversarial = {
                        "adversarial_b": lsgan(self.judge_b(fakes.b), real=True),
                        "adversarial_a": lsgan(self.judge_a(fakes.a), real=True),
                    }
                return {**identity, **adversarial, **self._cycle_losses(batch, fakes)}
            case _:
                return super().losses(phase, batch, fakes)


class GrowingPool(ImagePool):
    """Keeps each image as a separate tensor, instead of reserving memory for all."""

    def __init__(self, size: int) -> None:
        super().__init__(0, (0, 0, 0))
        self.size = size
        self.earlier: list[Tensor] = []

    def exchange(self, fakes: Tensor, choices: PoolChoices) -> Tensor:
        handed: list[Tensor] = []
        for number, fake in enumerate(fakes.detach()):
            slot = int(choices.slots[number])
            handed.append(self.earlier[slot] if choices.hands_out[number] else fake)
            if choices.keeps[number]:
                self.earlier[slot : slot + 1] = [fake]
        return torch.stack(handed)


def _two_pass_losses(discriminator: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return the discriminator's losses, from one pass over real images and one over fakes."""
    return {
        "real": 0.5 * lsgan(discriminator(real), real=True),
        "fake": 0.5 * lsgan(discriminator(fake.detach()), real=False),
    }
