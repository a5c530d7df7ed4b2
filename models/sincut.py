"""SinCUT: CUT on crops of one image of each domain.

As in taesungp/contrastive-unpaired-translation @ b3ac297.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs.fit import style_positions
from models.configs.images import ImageShape
from models.configs.sincut import SinCUTConfig
from models.contrast.patch_nce import patch_nce
from models.images import with_channels
from models.losses import non_saturating, r1_penalty
from models.negatives import Patches, minibatch
from models.networks.layers import initialise
from models.networks.projector import PatchIds, Projector, ids_of_images, sample_patch_ids
from models.networks.stylegan2 import StyleDiscriminator, StyleGenerator
from models.networks.stylegan2_layers import initialise_scaled
from models.objective import ALONE, Batch, Counts, Ranks, frozen

Keys = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class SinCUTRandomness:
    """The patches of each domain, and the generator's noise (B, 1, H, W) for each domain that it translates."""

    patch_ids: Mapping[str, PatchIds]
    noise: Mapping[str, Tensor]


register_dataclass(SinCUTRandomness)


@dataclass(frozen=True)
class SinCUTFakes:
    """What a step generates: the output for each domain's images, and the keys (B, P, D) by domain and layer.

    elsewhere: the keys (N, D) of crops that other processes have.
    """

    outputs: Mapping[str, Tensor]
    patch_ids: Mapping[str, PatchIds]
    keys: Keys
    elsewhere: Keys = field(default_factory=dict[str, Mapping[str, Tensor]])


class SinCUTObjective(nn.Module):
    """CUT for single images. Updates the discriminator, then the generator with its heads."""

    phases = ("discriminator", "generator")

    def __init__(self, config: SinCUTConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.generator = StyleGenerator(config.generator, shape.channels_a, shape.channels_b)
        self.discriminator = StyleDiscriminator(config.discriminator, config.generator.start_size, shape.channels_b)
        layer_channels = config.generator.layer_channels(shape.channels_a)
        positions = style_positions(config.generator, shape)
        self.domain_weights = config.domain_weights
        self.positions = {layer: positions[layer] for layer in layer_channels if layer in config.places}
        self.projector = Projector({layer: layer_channels[layer] for layer in self.positions}, config.projection_units)
        initialise_scaled(self.generator, rng)
        initialise_scaled(self.discriminator, rng)
        initialise(self.projector, rng)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        match phase:
            case "discriminator":
                return list(self.discriminator.parameters())
            case "generator":
                return [*self.generator.parameters(), *self.projector.parameters()]
            case _:
                raise ValueError(f"SinCUT has no phase {phase!r}; it has {', '.join(self.phases)}")

    @property
    def translator(self) -> StyleGenerator:
        return self.generator

    @property
    def counts(self) -> Counts:
        return {}

    def set_counts(self, counts: Counts) -> None:
        pass

    def sample_randomness(
        self, size: int, rng: torch.Generator, counts: Counts, progress: float = 0.0
    ) -> tuple[SinCUTRandomness, Counts]:
        ids = {domain: sample_patch_ids(self.positions, self.config.num_patches, rng) for domain in self.domain_weights}
        domains = ("a", "b") if self.config.translates_b else ("a",)
        noise_shape, dtype = (size, 1, self.shape.height, self.shape.width), self.parameters_of("generator")[0].dtype
        noise = {domain: torch.randn(noise_shape, generator=rng, dtype=dtype) for domain in domains}
        return SinCUTRandomness(ids, noise), {}

    def generate(self, batch: Batch, randomness: SinCUTRandomness, ranks: Ranks = ALONE) -> SinCUTFakes:
        noise = {domain: ranks.own(whole) for domain, whole in randomness.noise.items()}
        fakes = self.forward(batch, replace(randomness, noise=noise))
        if ranks.size == 1:
            return fakes
        elsewhere = {
            domain: {layer: ranks.others(key).flatten(0, 1) for layer, key in keys.items()}
            for domain, keys in fakes.keys.items()
        }
        return replace(fakes, elsewhere=elsewhere)

    def forward(self, batch: Batch, randomness: SinCUTRandomness) -> SinCUTFakes:
        """Translate, and take the keys from the features that the translation computes on its way."""
        sources = {"a": batch.a, "b": with_channels(batch.b, self.shape.channels_a)}
        source = torch.cat([sources[domain] for domain in randomness.noise])
        noise = torch.cat(list(randomness.noise.values()))
        output, features = self.generator(source, self.positions if self.domain_weights else (), noise)
        outputs = dict(zip(randomness.noise, output.split(len(batch.a)), strict=True))
        if not self.domain_weights:
            return SinCUTFakes(outputs, {}, {})
        # The first images are those of the domains that have a contrast.
        count = len(batch.a) * len(self.domain_weights)
        with torch.no_grad():
            keys = self.projector(
                {layer: feature[:count].detach() for layer, feature in features.items()},
                ids_of_images(randomness.patch_ids, len(batch.a)),
            )
        return SinCUTFakes(outputs, randomness.patch_ids, self._by_domain(keys))

    def losses(self, phase: str, batch: Batch, fakes: SinCUTFakes) -> dict[str, Tensor]:
        match phase:
            case "discriminator":
                return self._discriminator_losses(batch.b, fakes.outputs["a"])
            case "generator":
                with frozen(self.discriminator):
                    adversarial = non_saturating(self.discriminator(fakes.outputs["a"]), real=True)
                return {
                    "adversarial": adversarial,
                    **self._contrastive_losses(fakes),
                    **self._identity_losses(batch.b, fakes),
                }
            case _:
                raise ValueError(f"SinCUT has no phase {phase!r}; it has {', '.join(self.phases)}")

    def _discriminator_losses(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return the losses of both kinds of images, and R1 at the real ones, in every step and with its full weight.

        The gradient is with respect to a copy, since the generator uses the same batch.
        """
        penalised = self.config.r1_weight > 0
        real = real.detach().requires_grad_(penalised)
        # A view, because torch's counter of operations refuses gradients at a leaf (`pipeline.training.count_step`).
        scores = self.discriminator(real.view_as(real))
        return {
            "real": 0.5 * non_saturating(scores, real=True),
            "fake": 0.5 * non_saturating(self.discriminator(fake.detach()), real=False),
            **({"r1": self.config.r1_weight * r1_penalty(scores, real)} if penalised else {}),
        }

    def _contrastive_losses(self, fakes: SinCUTFakes) -> dict[str, Tensor]:
        """Return PatchNCE of every domain, from one pass of the encoder over the outputs."""
        if not fakes.keys:
            return {}
        outputs = torch.cat([fakes.outputs[domain] for domain in fakes.keys])
        features = self.generator.encode(with_channels(outputs, self.shape.channels_a), self.positions)
        ids = ids_of_images(fakes.patch_ids, len(fakes.outputs["a"]))
        queries = self._by_domain(self.projector(features, ids))
        return {f"nce_{domain}": self._mean_nce(domain, queries[domain], fakes) for domain in queries}

    def _mean_nce(self, domain: str, queries: Mapping[str, Tensor], fakes: SinCUTFakes) -> Tensor:
        """Return a domain's weight times the mean of PatchNCE over the layers, whose queries are (B, P, D)."""
        terms: list[Tensor] = []
        for layer, query in queries.items():
            elsewhere = fakes.elsewhere[domain][layer] if fakes.elsewhere else None
            patches = Patches(query, fakes.keys[domain][layer], elsewhere_ND=elsewhere)
            terms.append(patch_nce(patches, [minibatch], self.config.temperature))
        return self.domain_weights[domain] * torch.stack(terms).mean()

    def _identity_losses(self, b: Tensor, fakes: SinCUTFakes) -> dict[str, Tensor]:
        """Return the mean distance of G(b) to b, weighted."""
        weight = self.config.pixel_identity_weight
        return {"identity": weight * F.l1_loss(fakes.outputs["b"], b)} if weight > 0 else {}

    def _by_domain(self, embeddings: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Divide embeddings (B of all domains, P, D) of each layer by the domains of the contrast."""
        domains = list(self.domain_weights)
        parts = {layer: embedding.chunk(len(domains)) for layer, embedding in embeddings.items()}
        return {domain: {layer: part[number] for layer, part in parts.items()} for number, domain in enumerate(domains)}
