"""DCLGAN: two GANs with opposite directions, and PatchNCE between the input and the output of each generator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs.dclgan import DCLGANConfig
from models.configs.fit import map_positions
from models.configs.images import ImageShape
from models.contrast.contrast import Contrast, with_field
from models.contrast.patch_nce import patch_nce
from models.images import with_channels
from models.losses import hinge
from models.negatives import chosen_sources
from models.networks.discriminator import Discriminator, score
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.networks.projector import PatchIds, Projector, sample_patch_ids
from models.objective import ALONE, Batch, Counts, Ranks, frozen


@dataclass(frozen=True)
class DCLGANRandomness:
    """The patches of each domain."""

    patch_ids: Mapping[str, PatchIds]


register_dataclass(DCLGANRandomness)


@dataclass(frozen=True)
class DCLGANFakes:
    """Translations (B, C, H, W), b and a as the generators to their own domain return them (None where that has no
    weight), and each domain's contrast."""

    b: Tensor
    a: Tensor
    same_b: Tensor | None
    same_a: Tensor | None
    contrasts: Mapping[str, Contrast]


class DCLGANObjective(nn.Module):
    """DCLGAN. Updates both discriminators, then both generators with their heads.

    Images of A are embedded by the encoder of the generator from A and by the heads of A, images of B likewise, whether
    real or generated. So the patches of a and those of its translation have different encoders. As in
    JunlinHan/DCLGAN @ abb805c (Han et al., CVPR Workshops 2021).
    """

    phases = ("discriminator", "generator")

    def __init__(self, config: DCLGANConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.a_to_b = Generator(config.generator, shape.channels_a, shape.channels_b)
        self.b_to_a = Generator(config.generator, shape.channels_b, shape.channels_a)
        self.judge_b = Discriminator(config.discriminator, shape.channels_b)
        self.judge_a = Discriminator(config.discriminator, shape.channels_a)
        positions = map_positions(config.generator, shape)
        self.positions = {layer: count for layer, count in positions.items() if layer in config.places}
        self.heads_a, self.heads_b = self._heads(shape.channels_a), self._heads(shape.channels_b)
        for network in (self.a_to_b, self.b_to_a, self.judge_b, self.judge_a, self.heads_a, self.heads_b):
            initialise(network, rng)
        self.negatives = chosen_sources(config.contrast)

    def _heads(self, image_channels: int) -> Projector:
        channels = self.config.generator.layer_channels(image_channels)
        return Projector({layer: channels[layer] for layer in self.positions}, self.config.projection_units)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        match phase:
            case "discriminator":
                networks = (self.judge_b, self.judge_a)
            case "generator":
                networks = (self.a_to_b, self.b_to_a, self.heads_a, self.heads_b)
            case _:
                raise ValueError(f"DCLGAN has no phase {phase!r}; it has {', '.join(self.phases)}")
        return [parameter for network in networks for parameter in network.parameters()]

    @property
    def translator(self) -> Generator:
        return self.a_to_b

    @property
    def counts(self) -> Counts:
        return {}

    def set_counts(self, counts: Counts) -> None:
        pass

    def sample_randomness(
        self, size: int, rng: torch.Generator, counts: Counts, progress: float = 0.0
    ) -> tuple[DCLGANRandomness, Counts]:
        domains = ("a", "b") if self.config.nce_weight > 0 else ()
        ids = {domain: sample_patch_ids(self.positions, self.config.num_patches, rng) for domain in domains}
        return DCLGANRandomness(ids), {}

    def generate(self, batch: Batch, randomness: DCLGANRandomness, ranks: Ranks = ALONE) -> DCLGANFakes:
        fakes = self.forward(batch, randomness)
        if ranks.size == 1 or "minibatch" not in self.config.negatives:
            return fakes
        elsewhere = {
            domain: {layer: ranks.others(key).flatten(0, 1) for layer, key in contrast.keys.items()}
            for domain, contrast in fakes.contrasts.items()
        }
        return replace(fakes, contrasts=with_field(fakes.contrasts, "elsewhere_ND", elsewhere))

    def forward(self, batch: Batch, randomness: DCLGANRandomness) -> DCLGANFakes:
        """Translate, and take the keys from the features that the translations compute on their way."""
        b, same_b, features_a = self._translate(self.a_to_b, batch.a, batch.b)
        a, same_a, features_b = self._translate(self.b_to_a, batch.b, batch.a)
        if not randomness.patch_ids:
            return DCLGANFakes(b, a, same_b, same_a, {})
        ids_a, ids_b = randomness.patch_ids["a"], randomness.patch_ids["b"]
        with torch.no_grad():
            keys_a, keys_b = self.heads_a(features_a, ids_a), self.heads_b(features_b, ids_b)
        contrasts = {"a": Contrast(b, ids_a, keys_a), "b": Contrast(a, ids_b, keys_b)}
        if "other_domain" in self.config.negatives:
            # Queries of the translation of a have the encoder of B, as these patches of b have.
            contrasts = with_field(contrasts, "other_BND", {"a": keys_b, "b": keys_a})
        return DCLGANFakes(b, a, same_b, same_a, contrasts)

    def _translate(
        self, generator: Generator, source: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return the translations of the source and, if their distance to it has a weight, of the target, from one
        pass. Also return the source's features, without gradient."""
        kept = self.config.pixel_identity_weight > 0
        images = torch.cat([source, with_channels(target, generator.in_channels)]) if kept else source
        output, features = generator(images, self.positions if self.config.nce_weight > 0 else ())
        size = len(source)
        detached = {layer: feature[:size].detach() for layer, feature in features.items()}
        return output[:size], output[size:] if kept else None, detached

    def losses(self, phase: str, batch: Batch, fakes: DCLGANFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator":
                real_b, fake_b = score(self.judge_b, batch.b, fakes.b)
                real_a, fake_a = score(self.judge_a, batch.a, fakes.a)
                return {
                    "real_b": 0.5 * hinge(real_b, real=True),
                    "fake_b": 0.5 * hinge(fake_b, real=False),
                    "real_a": 0.5 * hinge(real_a, real=True),
                    "fake_a": 0.5 * hinge(fake_a, real=False),
                }
            case "generator":
                with frozen(self.judge_b, self.judge_a):
                    adversarial = {
                        "adversarial_b": 0.5 * hinge(self.judge_b(fakes.b), real=True),
                        "adversarial_a": 0.5 * hinge(self.judge_a(fakes.a), real=True),
                    }
                return {**adversarial, **self._contrastive_losses(fakes), **self._identity_losses(batch, fakes)}
            case _:
                raise ValueError(f"DCLGAN has no phase {phase!r}; it has {', '.join(self.phases)}")

    def _contrastive_losses(self, fakes: DCLGANFakes) -> dict[str, Tensor]:
        """Return PatchNCE of every domain. The queries have the encoder and the heads of the output's domain."""
        encoders = {"a": (self.b_to_a, self.heads_b), "b": (self.a_to_b, self.heads_a)}
        losses: dict[str, Tensor] = {}
        for domain, contrast in fakes.contrasts.items():
            generator, heads = encoders[domain]
            queries = heads(generator.encode(contrast.output, self.positions), contrast.ids)
            terms = [
                patch_nce(patches, self.negatives, self.config.temperature)
                for patches in contrast.terms(queries).values()
            ]
            losses[f"nce_{domain}"] = 0.5 * self.config.nce_weight * torch.stack(terms).mean()
        return losses

    def _identity_losses(self, batch: Batch, fakes: DCLGANFakes) -> dict[str, Tensor]:
        weight = 0.5 * self.config.pixel_identity_weight
        pairs = {"identity_b": (fakes.same_b, batch.b), "identity_a": (fakes.same_a, batch.a)}
        return {name: weight * F.l1_loss(same, real) for name, (same, real) in pairs.items() if same is not None}
