"""CUT and FastCUT: one GAN, and PatchNCE between what goes into the generator and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs import CUTConfig, ImageShape, domain_weights, map_positions
from models.images import with_channels
from models.losses import lsgan, patch_nce
from models.negatives import IN_BATCH, ExternalNegatives, Negatives, QueueSlots
from models.networks.discriminator import Discriminator, score
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.networks.projector import PatchIds, Projector, ids_of_images, sample_patch_ids
from models.objective import Batch, Counts, frozen


@dataclass(frozen=True)
class CUTRandomness:
    """Whether a step's sources are flipped, the patches looked at in each domain, and the slots of the queues."""

    flipped: bool
    patch_ids: Mapping[str, PatchIds]
    external: Mapping[str, Mapping[str, QueueSlots]] = field(default_factory=dict[str, Mapping[str, QueueSlots]])


register_dataclass(CUTRandomness)


@dataclass(frozen=True)
class Contrast:
    """One domain's side of PatchNCE: the image whose patches are queries, and what they are compared to.

    keys (B, P, D) and the sources of negatives are given for each layer.
    """

    output: Tensor
    ids: PatchIds
    keys: dict[str, Tensor]
    negatives: dict[str, list[Negatives]]


@dataclass(frozen=True)
class CUTFakes:
    """What a step has generated: the translation of a, and a contrast for each domain that has one."""

    b: Tensor
    flipped: bool
    contrasts: dict[str, Contrast]


class CUTObjective(nn.Module):
    """Contrastive unpaired translation; updates the discriminator, then the generator with the heads."""

    phases = ("discriminator", "generator")

    def __init__(self, config: CUTConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.generator = Generator(config.generator, shape.channels_a, shape.channels_b)
        self.discriminator = Discriminator(config.discriminator, shape.channels_b)
        layer_channels = config.generator.layer_channels(shape.channels_a)
        positions = map_positions(config.generator, shape)
        self.domain_weights = domain_weights(config)
        self.positions = {layer: positions[layer] for layer in layer_channels if layer in config.places}
        self.projector = Projector({layer: layer_channels[layer] for layer in self.positions}, config.projection_units)
        for network in (self.generator, self.discriminator, self.projector):
            initialise(network, rng)
        self.external = (
            ExternalNegatives(
                config.external, self.generator, self.projector, self.domain_weights, config.projection_units
            )
            if "external" in config.negatives and self.domain_weights
            else None
        )

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        match phase:
            case "discriminator":
                return list(self.discriminator.parameters())
            case "generator":
                return [*self.generator.parameters(), *self.projector.parameters()]
            case _:
                raise ValueError(f"CUT has no phase {phase!r}; it has {', '.join(self.phases)}")

    @property
    def translator(self) -> Generator:
        return self.generator

    @property
    def counts(self) -> Counts:
        return self.external.counts if self.external else {}

    def set_counts(self, counts: Counts) -> None:
        if self.external:
            self.external.set_counts(counts)

    def sample_randomness(self, size: int, rng: torch.Generator, counts: Counts) -> tuple[CUTRandomness, Counts]:
        flipped = self.config.flip_equivariance and bool(torch.rand((), generator=rng) < 0.5)
        ids = {domain: sample_patch_ids(self.positions, self.config.num_patches, rng) for domain in self.domain_weights}
        external, after = self.external.sample(size, ids, rng, counts) if self.external else ({}, {})
        return CUTRandomness(flipped, ids, external), after

    def generate(self, batch: Batch, draws: CUTRandomness) -> CUTFakes:
        fakes = self.forward(batch, draws, self.external.drawn(draws.external) if self.external else {})
        if self.external:
            self.external.follow(self.generator, self.projector)
            self.external.remember(self._sources(batch), draws.patch_ids, draws.external)
        return fakes

    def forward(self, batch: Batch, draws: CUTRandomness, external: dict[str, dict[str, list[Negatives]]]) -> CUTFakes:
        """Translate, and take the keys from the features that the translation met on its way."""
        source = torch.cat(list(self._sources(batch).values()))
        output, features = self.generator(source.flip(-1) if draws.flipped else source, self.positions)
        if draws.flipped and self.domain_weights:
            # The keys belong to the unflipped source, which the forward pass has not seen.
            with torch.no_grad():
                features = self.generator.encode(source, self.positions)

        keys: dict[str, Tensor] = {}
        if self.domain_weights:
            ids = ids_of_images(draws.patch_ids, len(batch.a))
            with torch.no_grad():
                keys = self.projector({layer: feature.detach() for layer, feature in features.items()}, ids)

        in_batch = [IN_BATCH[name] for name in self.config.negatives if name in IN_BATCH]
        contrasts: dict[str, Contrast] = {}
        size = len(batch.a)
        for number, domain in enumerate(self.domain_weights):
            rows = slice(number * size, (number + 1) * size)
            negatives = {layer: [*in_batch, *external.get(domain, {}).get(layer, [])] for layer in keys}
            of_domain = {layer: key[rows] for layer, key in keys.items()}
            contrasts[domain] = Contrast(output[rows], draws.patch_ids[domain], of_domain, negatives)
        return CUTFakes(output[:size], draws.flipped, contrasts)

    def losses(self, phase: str, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator":
                real, fake = score(self.discriminator, batch.b, fakes.b)
                return {"real": 0.5 * lsgan(real, real=True), "fake": 0.5 * lsgan(fake, real=False)}
            case "generator":
                with frozen(self.discriminator):
                    adversarial = lsgan(self.discriminator(fakes.b), real=True)
                return {"adversarial": adversarial, **self._contrastive_losses(fakes)}
            case _:
                raise ValueError(f"CUT has no phase {phase!r}; it has {', '.join(self.phases)}")

    def _sources(self, batch: Batch) -> dict[str, Tensor]:
        """What the generator is given: the images of A and, where they are contrasted, those of B as if of A."""
        identity = {"b": with_channels(batch.b, self.shape.channels_a)} if "b" in self.domain_weights else {}
        return {"a": batch.a, **identity}

    def _contrastive_losses(self, fakes: CUTFakes) -> dict[str, Tensor]:
        """PatchNCE of every domain from one pass of the encoder over all outputs."""
        if not fakes.contrasts:
            return {}
        outputs = torch.cat([contrast.output for contrast in fakes.contrasts.values()])
        features = self.generator.encode(with_channels(outputs, self.shape.channels_a), self.positions)
        if fakes.flipped:
            features = {layer: feature.flip(-1) for layer, feature in features.items()}
        drawn = {domain: contrast.ids for domain, contrast in fakes.contrasts.items()}
        queries = self.projector(features, ids_of_images(drawn, len(fakes.b)))
        losses: dict[str, Tensor] = {}
        size = len(fakes.b)
        for number, (domain, contrast) in enumerate(fakes.contrasts.items()):
            rows = slice(number * size, (number + 1) * size)
            terms = [
                patch_nce(query[rows], contrast.keys[layer], contrast.negatives[layer], self.config.temperature)
                for layer, query in queries.items()
            ]
            losses[f"nce_{domain}"] = self.domain_weights[domain] * torch.stack(terms).mean()
        return losses
