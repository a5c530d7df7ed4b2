"""What a step of CUT samples and makes, and what PatchNCE compares.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.utils._pytree import register_dataclass

from models.contrast.queue import QueueSlots
from models.negatives import Patches
from models.networks.projector import PatchIds
from models.objective import Ranks

# Tensors by domain and layer.
ByDomain = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class CUTRandomness:
    """What a step of CUT samples.

    flipped: whether the sources are flipped. patch_ids: of each domain; with queries=discriminator, the candidates too.
    slots: of each queue, 'domain/layer'. noise: (B, M, E) of generated negatives, by domain and layer. gamma: of hard
    weights.
    """

    flipped: bool
    patch_ids: Mapping[str, PatchIds]
    slots: Mapping[str, QueueSlots] = field(default_factory=dict[str, QueueSlots])
    noise: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict[str, Mapping[str, Tensor]])
    gamma: Tensor | None = None


register_dataclass(CUTRandomness)


@dataclass(frozen=True)
class Contrast:
    """One domain's part of PatchNCE: the output image, which gives the queries, where its patches are, and the keys
    (B, P, D) of each layer.

    By layer: means, noise: what generated negatives are made from. extra: what `Patches` has beside queries and keys,
    by the name of its field: other_BND from the forward pass, elsewhere_ND and queued_ND after it, and generated_BND
    in each phase, since the network that makes them is updated between the phases.
    """

    output: Tensor
    ids: PatchIds
    keys: Mapping[str, Tensor]
    extra: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict[str, Mapping[str, Tensor]])
    means: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    noise: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def terms(self, queries: Mapping[str, Tensor]) -> dict[str, Patches]:
        """Return what PatchNCE compares at each layer."""
        return {
            layer: Patches(query, self.keys[layer], **self.extra.get(layer, {})) for layer, query in queries.items()
        }

    @property
    def detached(self) -> "Contrast":
        """The same without a gradient into the sources."""
        return replace(self, means={layer: mean.detach() for layer, mean in self.means.items()})


@dataclass(frozen=True)
class CUTFakes:
    """What a step generates: the translation of a, a contrast for each domain that has one, and gamma of hard
    weights."""

    b: Tensor
    flipped: bool
    contrasts: Mapping[str, Contrast]
    gamma: Tensor | None = None


def by_domain(tensors: Mapping[str, Tensor], domains: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Divide each layer's tensor, in which the images of one domain follow those of the other."""
    parts = {layer: tensor.chunk(len(domains)) for layer, tensor in tensors.items()}
    return {domain: {layer: part[number] for layer, part in parts.items()} for number, domain in enumerate(domains)}


def own_parts(noise: ByDomain, ranks: Ranks) -> dict[str, dict[str, Tensor]]:
    """Return the noise of this process's images."""
    return {
        domain: {layer: ranks.own(whole) for layer, whole in of_layers.items()} for domain, of_layers in noise.items()
    }


def with_means_and_noise(contrasts: Mapping[str, Contrast], means: ByDomain, noise: ByDomain) -> dict[str, Contrast]:
    """Return the contrasts with what generated negatives are made from: means (B, D) and noise (B, N, E)."""
    return {
        domain: replace(contrast, means=means[domain], noise=noise[domain]) for domain, contrast in contrasts.items()
    }


def with_field(contrasts: Mapping[str, Contrast], name: str, tensors: ByDomain) -> dict[str, Contrast]:
    """Return the contrasts with more that `Patches` holds: the field of that name, of those domains and layers."""
    found: dict[str, Contrast] = {}
    for domain, contrast in contrasts.items():
        more = {layer: {name: tensor} for layer, tensor in tensors.get(domain, {}).items()}
        layers = {**contrast.extra, **more}
        extra = {layer: {**contrast.extra.get(layer, {}), **more.get(layer, {})} for layer in layers}
        found[domain] = replace(contrast, extra=extra)
    return found
