"""CUT and FastCUT: one GAN, and PatchNCE between the generator's input and its output."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from models.configs.cut import CUTConfig, domain_weights
from models.configs.fit import map_positions
from models.configs.images import ImageShape
from models.contrast.contrast import (
    Contrast,
    CUTFakes,
    CUTRandomness,
    by_domain,
    own_parts,
    with_field,
    with_means_and_noise,
)
from models.contrast.generated import GeneratedNegatives, diversity
from models.contrast.patch_nce import contrast_loss, similarities_to_own_keys
from models.contrast.queries import choose_patches, sample_choice
from models.contrast.queue import ExternalNegatives
from models.contrast.relation import semantic_relation
from models.contrast.weighting import chosen_weighting
from models.images import with_channels
from models.losses import ExtraLoss, lsgan, own_loss
from models.negatives import Negatives, Patches, chosen_sources
from models.networks.discriminator import Discriminator, score
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.networks.projector import PatchIds, Projector, ids_of_images, sample_patch_ids
from models.objective import ALONE, Batch, Counts, Ranks, frozen


class CUTObjective(nn.Module):
    """Contrastive unpaired translation. Updates the discriminator, then the generator with its heads.

    Between the two it updates the network that generates negatives, if there is one.
    """

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
        self.generated: GeneratedNegatives | None = None
        if config.generates_negatives and self.domain_weights:
            channels = {layer: layer_channels[layer] for layer in self.positions}
            self.generated = GeneratedNegatives(config.generated, channels, config.projection_units)
            self.generated.initialise(rng)

    @property
    def phases(self) -> tuple[str, ...]:
        return ("discriminator", *(["negatives"] if self.generated else []), "generator")

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
            case "negatives" if self.generated:
                return list(self.generated.networks.parameters())
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

    def sample_randomness(
        self, size: int, rng: torch.Generator, counts: Counts, progress: float = 0.0
    ) -> tuple[CUTRandomness, Counts]:
        config = self.config
        flipped = config.flip_equivariance and bool(torch.rand((), generator=rng) < 0.5)
        ids = {domain: sample_choice(config, self.positions, rng) for domain in self.domain_weights}
        if config.compares_domains and "b" not in ids:
            ids["b"] = sample_patch_ids(self.positions, config.num_patches, rng)
        randomness = CUTRandomness(flipped, ids)
        if self.generated:
            noise = {domain: self.generated.sample(size, rng) for domain in self.domain_weights}
            randomness = replace(randomness, noise=noise)
        if config.weighting == "hard":
            # A tensor, because a recorded step reads it from the same memory each time.
            randomness = replace(randomness, gamma=torch.tensor(config.hard.gamma(progress), dtype=torch.float64))
        if self.external is None:
            return randomness, {}
        slots, after = self.external.sample(size * config.num_patches, rng, counts)
        return replace(randomness, slots=slots), after

    def generate(self, batch: Batch, randomness: CUTRandomness, ranks: Ranks = ALONE) -> CUTFakes:
        if self.generated:
            self.generated.follow(self.projector)
            randomness = replace(randomness, noise=own_parts(randomness.noise, ranks))
        fakes = self.forward(batch, randomness)
        if ranks.size > 1 and "minibatch" in self.config.negatives:
            elsewhere = {
                domain: {layer: ranks.others(key).flatten(0, 1) for layer, key in contrast.keys.items()}
                for domain, contrast in fakes.contrasts.items()
            }
            fakes = replace(fakes, contrasts=with_field(fakes.contrasts, "elsewhere_ND", elsewhere))
        if self.external is None:
            return fakes
        sources, ids = self._sources(batch), {domain: contrast.ids for domain, contrast in fakes.contrasts.items()}
        queued = self.external.update(self.generator, self.projector, sources, ids, randomness.slots, ranks)
        return replace(fakes, contrasts=with_field(fakes.contrasts, "queued_ND", queued))

    def forward(self, batch: Batch, randomness: CUTRandomness) -> CUTFakes:
        """Translate, and take the keys from the features that the translation computes on its way.

        This is `generate` without queues and without what other processes have.
        """
        source = torch.cat(list(self._sources(batch).values()))
        output, features = self.generator(source.flip(-1) if randomness.flipped else source, self.positions)
        size = len(batch.a)
        if not self.domain_weights:
            return CUTFakes(output[:size], randomness.flipped, {})
        if randomness.flipped:
            # The keys belong to the unflipped source, which the forward pass has not seen.
            with torch.set_grad_enabled(self._trains_source and torch.is_grad_enabled()):
                features = self.generator.encode(source, self.positions)

        domains = list(self.domain_weights)
        ids = self._choose_patches(output, features, randomness)
        with torch.no_grad():
            detached = {layer: feature.detach() for layer, feature in features.items()}
            keys = by_domain(self.projector(detached, ids_of_images(ids, size)), domains)
        contrasts = {
            domain: Contrast(image, ids[domain], keys[domain])
            for domain, image in zip(domains, output.chunk(len(domains)), strict=True)
        }
        if self.generated:
            means = by_domain(self.generated.means(features), domains)
            contrasts = with_means_and_noise(contrasts, means, randomness.noise)
        if self.config.compares_domains:
            if "b" not in keys:
                source = with_channels(batch.b, self.shape.channels_a)
                with torch.no_grad():
                    keys["b"] = self.projector(self.generator.encode(source, self.positions), randomness.patch_ids["b"])
            contrasts = with_field(contrasts, "other_BND", {"a": keys["b"], "b": keys["a"]})
        return CUTFakes(output[:size], randomness.flipped, contrasts, gamma=randomness.gamma)

    @property
    def _trains_source(self) -> bool:
        """Whether the contrast has a gradient into the features of the sources, beside that into the outputs'."""
        config = self.config
        return config.queries == "attention" or (self.generated is not None and config.generated.through_encoder)

    def _choose_patches(
        self, output: Tensor, features: Mapping[str, Tensor], randomness: CUTRandomness
    ) -> dict[str, PatchIds]:
        """Return where each domain's patches are, at each layer."""
        config, domains = self.config, list(self.domain_weights)
        if config.queries == "random":
            return {domain: randomness.patch_ids[domain] for domain in domains}
        scores: list[Tensor | None] = [None] * len(domains)
        if config.queries == "discriminator":
            with torch.no_grad():
                scored = self.discriminator(output.detach())
            scores = [*(scored.flip(-1) if randomness.flipped else scored).chunk(len(domains))]
        of_domains = by_domain(features, domains)
        return {
            domain: choose_patches(config, randomness.patch_ids[domain], of_domains[domain], score_B1HW)
            for domain, score_B1HW in zip(domains, scores, strict=True)
        }

    def losses(self, phase: str, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator":
                real, fake = score(self.discriminator, batch.b, fakes.b)
                return {"real": 0.5 * lsgan(real, real=True), "fake": 0.5 * lsgan(fake, real=False)}
            case "negatives" if self.generated:
                return self._losses_of_negatives(fakes)
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
        """Return PatchNCE of every domain, and the relation's loss."""
        if not fakes.contrasts:
            return {}
        queries = self._queries(fakes)
        with frozen(*([self.generated] if self.generated else [])):
            terms = self._terms(fakes.contrasts, queries)
        losses = self._nce_losses(terms, fakes)
        if self.config.relation == "semantic":
            relations = [semantic_relation(patches) for patches in terms["a"].values()]
            losses["relation"] = self.config.relation_weight * torch.stack(relations).mean()
        return losses

    def _losses_of_negatives(self, fakes: CUTFakes) -> dict[str, Tensor]:
        """Return what the network that generates negatives minimises: the negative of what the generator does, and of
        the diversity of its negatives."""
        assert self.generated is not None
        # The generator's phase encodes the outputs again, with a graph.
        with torch.no_grad():
            queries = self._queries(fakes)
        detached = {domain: contrast.detached for domain, contrast in fakes.contrasts.items()}
        terms = self._terms(detached, queries)
        losses = {name: -loss for name, loss in self._nce_losses(terms, fakes).items()}
        made = [patches.generated_BND for of_layers in terms.values() for patches in of_layers.values()]
        spread = torch.stack([diversity(negatives) for negatives in made if negatives is not None]).mean()
        return {**losses, "diversity": -self.config.generated.diversity_weight * spread}

    def _queries(self, fakes: CUTFakes) -> dict[str, dict[str, Tensor]]:
        """Return the queries (B, P, D) of every domain and layer, from one pass of the encoder over all outputs."""
        outputs = torch.cat([contrast.output for contrast in fakes.contrasts.values()])
        features = self.generator.encode(with_channels(outputs, self.shape.channels_a), self.positions)
        if fakes.flipped:
            features = {layer: feature.flip(-1) for layer, feature in features.items()}
        ids, size = {domain: contrast.ids for domain, contrast in fakes.contrasts.items()}, len(fakes.b)
        return by_domain(self.projector(features, ids_of_images(ids, size)), list(ids))

    def _terms(
        self, contrasts: Mapping[str, Contrast], queries: Mapping[str, Mapping[str, Tensor]]
    ) -> dict[str, dict[str, Patches]]:
        """Return what PatchNCE compares, by domain and layer."""
        if self.generated:
            made = {domain: self.generated(contrast.means, contrast.noise) for domain, contrast in contrasts.items()}
            contrasts = with_field(contrasts, "generated_BND", made)
        return {domain: contrast.terms(queries[domain]) for domain, contrast in contrasts.items()}

    def _nce_losses(self, terms: Mapping[str, Mapping[str, Patches]], fakes: CUTFakes) -> dict[str, Tensor]:
        """Return each domain's weight times the mean of PatchNCE over its layers."""
        config, weigh = self.config, chosen_weighting(self.config, fakes.gamma)
        each = {(domain, layer): terms[domain][layer] for domain in terms for layer in terms[domain]}
        with torch.autocast(fakes.b.device.type, enabled=False):
            # Before the negatives: autograd adds gradients in the opposite order, and another order rounds otherwise.
            positives = [similarities_to_own_keys(patches) for patches in each.values()]
            # Of all terms, because transport computes them as one batch.
            weighed = weigh(list(each.values()), self.negatives)
            losses = {
                place: contrast_loss(positive, negatives, config.temperature, decoupled=config.decoupled)
                for place, positive, negatives in zip(each, positives, weighed, strict=True)
            }
            return {
                f"nce_{domain}": self.domain_weights[domain]
                * torch.stack([losses[domain, layer] for layer in layers]).mean()
                for domain, layers in terms.items()
            }

    def _extra_losses(self, batch: Batch, fakes: CUTFakes) -> dict[str, Tensor]:
        """Return the loss of the user's file, weighted."""
        if self.extra_loss is None:
            return {}
        source = batch.a.flip(-1) if fakes.flipped else batch.a
        return {"extra": self.config.extra_weight * self.extra_loss(source, fakes.b)}
