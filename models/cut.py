"""CUT and FastCUT: one GAN, and PatchNCE between the generator's input and its output."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs.cut import CUTConfig, domain_weights
from models.configs.fit import map_positions
from models.configs.images import ImageShape
from models.contrast.patch_nce import patch_nce
from models.contrast.queue import ExternalNegatives, QueueSlots
from models.images import with_channels
from models.losses import ExtraLoss, lsgan, own_loss
from models.negatives import Negatives, Patches, chosen_sources
from models.networks.discriminator import Discriminator, score
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.networks.projector import PatchIds, Projector, ids_of_images, sample_patch_ids
from models.objective import ALONE, Batch, Counts, Ranks, frozen


@dataclass(frozen=True)
class CUTRandomness:
    """Whether a step flips its sources, the patches of each domain, and the slots of each queue ('domain/layer')."""

    flipped: bool
    patch_ids: Mapping[str, PatchIds]
    slots: Mapping[str, QueueSlots] = field(default_factory=dict[str, QueueSlots])


register_dataclass(CUTRandomness)


@dataclass(frozen=True)
class Contrast:
    """One domain's part of PatchNCE: the output image, which gives the queries, its patch ids, and the keys (B, P, D)
    of each layer. elsewhere: the keys of images that other processes have, for minibatch negatives."""

    output: Tensor
    ids: PatchIds
    keys: Mapping[str, Tensor]
    elsewhere: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class CUTFakes:
    """What a step generates: the translation of a, a contrast for each domain that has one, and the negatives (N, D)
    that were read from queues, by 'domain/layer'."""

    b: Tensor
    flipped: bool
    contrasts: Mapping[str, Contrast]
    queued: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class CUTObjective(nn.Module):
    """Contrastive unpaired translation. Updates the discriminator, then the generator with its heads."""

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
            if config.keeps_queues and self.domain_weights
            else None
        )

    # Not in `__init__`: whoever loads a generator runs no code that came with its checkpoint.
    @cached_property
    def negatives(self) -> list[Negatives]:
        """The sources of negatives."""
        return chosen_sources(self.config)

    @cached_property
    def extra_loss(self) -> ExtraLoss | None:
        """The loss of the user's file."""
        name, code = self.config.extra_loss, self.config.code
        return own_loss(code, name) if code and name and self.config.extra_weight else None

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
        if self.external is None:
            return CUTRandomness(flipped, ids), {}
        slots, after = self.external.sample(size, ids, rng, counts)
        return CUTRandomness(flipped, ids, slots), after

    def generate(self, batch: Batch, randomness: CUTRandomness, ranks: Ranks = ALONE) -> CUTFakes:
        fakes = self.forward(batch, randomness)
        if ranks.size > 1 and "minibatch" in self.config.negatives:
            fakes = replace(fakes, contrasts=_with_keys_from_elsewhere(fakes.contrasts, ranks))
        if self.external is None:
            return fakes
        sources, ids = self._sources(batch), randomness.patch_ids
        queued = self.external.update(self.generator, self.projector, sources, ids, randomness.slots, ranks)
        return replace(fakes, queued=queued)

    def forward(self, batch: Batch, randomness: CUTRandomness) -> CUTFakes:
        """Translate, and take the keys from the features that the translation computes on its way."""
        source = torch.cat(list(self._sources(batch).values()))
        output, features = self.generator(source.flip(-1) if randomness.flipped else source, self.positions)
        if randomness.flipped and self.domain_weights:
            # The keys belong to the unflipped source, which the forward pass has not seen.
            with torch.no_grad():
                features = self.generator.encode(source, self.positions)

        size, keys = len(batch.a), dict[str, Tensor]()
        if self.domain_weights:
            ids = ids_of_images(randomness.patch_ids, size)
            with torch.no_grad():
                keys = self.projector({layer: feature.detach() for layer, feature in features.items()}, ids)
        contrasts: dict[str, Contrast] = {}
        for number, domain in enumerate(self.domain_weights):
            rows = slice(number * size, (number + 1) * size)
            keys_of_domain = {layer: key[rows] for layer, key in keys.items()}
            contrasts[domain] = Contrast(output[rows], randomness.patch_ids[domain], keys_of_domain)
        return CUTFakes(output[:size], randomness.flipped, contrasts)

    def losses(self, phase: str, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator":
                real, fake = score(self.discriminator, batch.b, fakes.b)
                return {"real": 0.5 * lsgan(real, real=True), "fake": 0.5 * lsgan(fake, real=False)}
            case "generator":
                with frozen(self.discriminator):
                    adversarial = lsgan(self.discriminator(fakes.b), real=True)
                return {
                    "adversarial": adversarial,
                    **self._contrastive_losses(fakes),
                    **self._extra_losses(batch, fakes),
                }
            case _:
                raise ValueError(f"CUT has no phase {phase!r}; it has {', '.join(self.phases)}")

    def _sources(self, batch: Batch) -> dict[str, Tensor]:
        """Return the generator's input by domain: A and, if B has a contrast too, B with the channels of A."""
        identity = {"b": with_channels(batch.b, self.shape.channels_a)} if "b" in self.domain_weights else {}
        return {"a": batch.a, **identity}

    def _contrastive_losses(self, fakes: CUTFakes) -> dict[str, Tensor]:
        """Return PatchNCE of every domain, from one pass of the encoder over all outputs."""
        if not fakes.contrasts:
            return {}
        outputs = torch.cat([contrast.output for contrast in fakes.contrasts.values()])
        features = self.generator.encode(with_channels(outputs, self.shape.channels_a), self.positions)
        if fakes.flipped:
            features = {layer: feature.flip(-1) for layer, feature in features.items()}
        ids, size = {domain: contrast.ids for domain, contrast in fakes.contrasts.items()}, len(fakes.b)
        queries = self.projector(features, ids_of_images(ids, size))
        losses: dict[str, Tensor] = {}
        for number, domain in enumerate(fakes.contrasts):
            of_domain = {layer: query[number * size : (number + 1) * size] for layer, query in queries.items()}
            losses[f"nce_{domain}"] = self._mean_nce(domain, of_domain, fakes.contrasts[domain], fakes.queued)
        return losses

    def _extra_losses(self, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        """Return the loss of the user's file, weighted."""
        if self.extra_loss is None:
            return {}
        source = batch.a.flip(-1) if fakes.flipped else batch.a
        return {"extra": self.config.extra_weight * self.extra_loss(source, fakes.b)}

    def _mean_nce(
        self, domain: str, queries: Mapping[str, Tensor], contrast: Contrast, queued: Mapping[str, Tensor]
    ) -> Tensor:
        """Return a domain's weight times the mean of PatchNCE over the layers, whose queries are (B, P, D)."""
        terms: list[Tensor] = []
        for layer, query in queries.items():
            key, elsewhere = contrast.keys[layer], contrast.elsewhere.get(layer)
            patches = Patches(query, key, queued.get(f"{domain}/{layer}"), elsewhere)
            terms.append(patch_nce(patches, self.negatives, self.config.temperature))
        return self.domain_weights[domain] * torch.stack(terms).mean()


def _with_keys_from_elsewhere(contrasts: Mapping[str, Contrast], ranks: Ranks) -> dict[str, Contrast]:
    """Return the contrasts with the keys (N, D) of the images that other processes have."""
    return {
        domain: replace(
            contrast, elsewhere={layer: ranks.others(key).flatten(0, 1) for layer, key in contrast.keys.items()}
        )
        for domain, contrast in contrasts.items()
    }
