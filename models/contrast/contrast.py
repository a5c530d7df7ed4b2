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
    """Whether a step flips its sources, the patches of each domain (of `queries=discriminator` the candidates), the
    slots of each queue ('domain/layer'), the noise of generated negatives (B, M, E) of each domain and layer, and gamma
    of hard weights."""

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

    By layer: queued: negatives (N, D) from the queue. elsewhere: the keys (N, D) of images that other processes have.
    others: the keys (B, P, D) of the other domain. means, noise: what generated negatives are made from.
    """

    output: Tensor
    ids: PatchIds
    keys: Mapping[str, Tensor]
    queued: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    elsewhere: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    others: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    means: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    noise: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def terms(self, queries: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Patches]:
        """Return what PatchNCE compares at each layer. made: generated negatives (B, N, D)."""
        return {
            layer: Patches(
                query,
                self.keys[layer],
                self.queued.get(layer),
                self.elsewhere.get(layer),
                made.get(layer),
                self.others.get(layer),
            )
            for layer, query in queries.items()
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


def with_noise(contrasts: Mapping[str, Contrast], means: ByDomain, noise: ByDomain) -> dict[str, Contrast]:
    """Return the contrasts with what generated negatives are made from: means (B, D) and noise (B, N, E)."""
    return {
        domain: replace(contrast, means=means[domain], noise=noise[domain]) for domain, contrast in contrasts.items()
    }


def with_queued(contrasts: Mapping[str, Contrast], queued: Mapping[str, Tensor]) -> dict[str, Contrast]:
    """Return the contrasts with the negatives (N, D) that were read from queues, by 'domain/layer'."""
    parts = {domain: f"{domain}/" for domain in contrasts}
    return {
        domain: replace(
            contrast,
            queued={
                name.removeprefix(parts[domain]): read_ND
                for name, read_ND in queued.items()
                if name.startswith(parts[domain])
            },
        )
        for domain, contrast in contrasts.items()
    }


def with_keys_from_elsewhere(contrasts: Mapping[str, Contrast], ranks: Ranks) -> dict[str, Contrast]:
    """Return the contrasts with the keys (N, D) of the images that other processes have."""
    return {
        domain: replace(
            contrast, elsewhere={layer: ranks.others(key).flatten(0, 1) for layer, key in contrast.keys.items()}
        )
        for domain, contrast in contrasts.items()
    }


def with_keys_of_other_domain(contrasts: Mapping[str, Contrast], keys: ByDomain) -> dict[str, Contrast]:
    """Return the contrasts with the keys (B, P, D) of the other domain's images, of those by domain and layer."""
    other = {"a": "b", "b": "a"}
    return {domain: replace(contrast, others=keys[other[domain]]) for domain, contrast in contrasts.items()}
