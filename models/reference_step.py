"""A training step taken the way the released reference code takes it: the same values, at its cost.

What a step here saves in memory and operations is measured against this one (docs/reproducing.md). Nothing trains
with it.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.configs import CUTConfig, CycleGANConfig, ImageShape, ModelConfig
from models.cut import Contrast, CUTFakes, CUTObjective, CUTRandomness
from models.cyclegan import CycleGANFakes, CycleGANObjective
from models.image_pool import ImagePool, PoolChoices
from models.images import with_channels
from models.losses import lsgan, patch_nce
from models.negatives import IN_BATCH, Negatives
from models.networks.discriminator import Discriminator
from models.objective import Batch, Objective, frozen, on_device, sample_step


def build_reference(config: ModelConfig, shape: ImageShape, rng: torch.Generator) -> "ReferenceCUT | ReferenceCycleGAN":
    """The model of `build_objective`, weight for weight, that works as the reference code does."""
    match config:
        case CUTConfig():
            return ReferenceCUT(config, shape, rng)
        case CycleGANConfig():
            return ReferenceCycleGAN(config, shape, rng)


def reference_optimizers(
    objective: Objective, learning_rate: float, betas: tuple[float, float]
) -> dict[str, torch.optim.Adam]:
    """One Adam a phase, in torch's default form."""
    return {
        phase: torch.optim.Adam(objective.parameters_of(phase), lr=learning_rate, betas=betas)
        for phase in objective.phases
    }


def reference_step(
    objective: Objective, optimizers: Mapping[str, torch.optim.Optimizer], batch: Batch, rng: torch.Generator
) -> dict[str, Tensor]:
    """One step of every phase; the detached losses as 'phase/name'.

    A phase drops its own gradients before its losses: those of the others stand beside its graph.
    """
    fakes = objective.generate(batch, sample_step(objective, len(batch.a), rng))
    report: dict[str, Tensor] = {}
    for phase in objective.phases:
        optimizers[phase].zero_grad()
        losses = objective.losses(phase, batch, fakes)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizers[phase].step()
        report |= {f"{phase}/{name}": loss.detach() for name, loss in losses.items()}
    return report


class ReferenceCUT(CUTObjective):
    """CUT that encodes its sources once more for the keys, and takes one domain and one judgement at a time."""

    def generate(self, batch: Batch, draws: CUTRandomness) -> CUTFakes:
        return super().generate(batch, on_device(draws, batch.a.device))

    def forward(self, batch: Batch, draws: CUTRandomness, external: dict[str, dict[str, list[Negatives]]]) -> CUTFakes:
        """Translate; keys are left to the losses."""
        source = torch.cat(list(self._sources(batch).values()))
        output, _ = self.generator(source.flip(-1) if draws.flipped else source)
        outputs = output.split(len(batch.a))
        in_batch = [IN_BATCH[name] for name in self.config.negatives if name in IN_BATCH]
        contrasts: dict[str, Contrast] = {}
        # A plain GAN has an output and no contrast.
        for image, (domain, ids) in zip(outputs, draws.patch_ids.items(), strict=False):
            drawn = external.get(domain, {})
            negatives = {layer: [*in_batch, *drawn.get(layer, [])] for layer in self.positions}
            contrasts[domain] = Contrast(image, ids, {}, negatives)
        return CUTFakes(outputs[0], draws.flipped, contrasts)

    def losses(self, phase: str, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        if phase == "discriminator":
            return _two_pass_losses(self.discriminator, batch.b, fakes.b)
        losses = super().losses(phase, batch, replace(fakes, contrasts={}))
        sources = self._sources(batch)
        for domain, contrast in fakes.contrasts.items():
            loss = self._contrastive_loss(sources[domain], contrast, flipped=fakes.flipped)
            losses[f"nce_{domain}"] = self.domain_weights[domain] * loss
        return losses

    def _contrastive_loss(self, source: Tensor, contrast: Contrast, *, flipped: bool) -> Tensor:
        """PatchNCE of one domain. The keys have a graph, though no gradient ever flows through it: it is held until
        this returns, beside all that the backward pass will need.
        """
        output = with_channels(contrast.output, self.shape.channels_a)
        features = self.generator.encode(output, self.positions)
        if flipped:
            features = {layer: feature.flip(-1) for layer, feature in features.items()}
        source_features = self.generator.encode(source, self.positions)
        keys = self.projector(source_features, contrast.ids)
        queries = self.projector(features, contrast.ids)
        terms = [
            patch_nce(query, keys[layer].detach(), contrast.negatives[layer], self.config.temperature)
            for layer, query in queries.items()
        ]
        return torch.stack(terms).mean()


class ReferenceCycleGAN(CycleGANObjective):
    """CycleGAN whose discriminators are updated one after the other; its pools grow with the images they hold."""

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
                # Identity first: what is made last is freed first, and the peak stands where that begins.
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
    """Keeps each image it is given as a tensor of its own, instead of reserving room for all."""

    def __init__(self, size: int) -> None:
        super().__init__(0, (0, 0, 0))
        self.size = size
        self.earlier: list[Tensor] = []

    def exchange(self, fakes: Tensor, draw: PoolChoices) -> Tensor:
        handed: list[Tensor] = []
        for number, fake in enumerate(fakes.detach()):
            slot = int(draw.slots[number])
            handed.append(self.earlier[slot] if draw.hands_out[number] else fake)
            if draw.keeps[number]:
                self.earlier[slot : slot + 1] = [fake]
        return torch.stack(handed)


def _two_pass_losses(discriminator: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The discriminator's losses, from a pass over the real images and one over the fakes."""
    return {
        "real": 0.5 * lsgan(discriminator(real), real=True),
        "fake": 0.5 * lsgan(discriminator(fake.detach()), real=False),
    }
