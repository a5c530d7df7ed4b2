"""Where negatives come from: parts that compose, each a function of queries and keys.

B batch, P patches, N negatives, D embedding units, Q queue length.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs import ExternalConfig
from models.networks.generator import Generator, encode, encoder_stages
from models.networks.projector import PatchIds, Projector, ids_of_images
from models.objective import Counts

Negatives = Callable[[Tensor, Tensor], Tensor]

# The reference fills a query's similarity to its own key, which already stands as the positive, with -10.
OWN_KEY = -10.0


def internal(query_BPD: Tensor, key_BPD: Tensor) -> Tensor:
    """Similarities (B, P, P) to the other patches of the same image."""
    similarity_BPP = query_BPD @ key_BPD.mT
    own = torch.eye(similarity_BPP.shape[-1], dtype=torch.bool, device=similarity_BPP.device)
    return similarity_BPP.masked_fill(own, OWN_KEY)


def minibatch(query_BPD: Tensor, key_BPD: Tensor) -> Tensor:
    """Similarities (B, P, B * P) to all other patches of all images of the batch."""
    query_1ND, key_1ND = query_BPD.flatten(0, 1)[None], key_BPD.flatten(0, 1)[None]
    return internal(query_1ND, key_1ND).reshape(*query_BPD.shape[:2], -1)


def given(negatives_ND: Tensor, query_BPD: Tensor, key_BPD: Tensor) -> Tensor:
    """Similarities (B, P, N) to embeddings that are given, the same for every query."""
    return query_BPD @ negatives_ND.mT


# The sources that need nothing but the step's own patches; external ones are drawn from a queue, which is state.
IN_BATCH: dict[str, Negatives] = {"internal": internal, "minibatch": minibatch}


class PatchQueue(nn.Module):
    """The latest Q embeddings of one domain and layer, a ring; its buffers stand in checkpoints."""

    keys_QD: Tensor
    pushed: Tensor

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.register_buffer("keys_QD", torch.zeros(size, units))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        pushed = self.pushed
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        # The count stays with the host, which would have to wait for a device to read it.
        self.pushed = pushed
        return self

    def filled(self, pushed: int) -> int:
        """Patches held after so many were pushed, at most Q."""
        return min(pushed, len(self.keys_QD))

    def sample(self, count: int, rng: torch.Generator, pushed: int) -> Tensor:
        """`count` different slots of those that are filled after so many pushed patches."""
        # A copy, since the step would keep the whole permutation otherwise.
        return torch.randperm(self.filled(pushed), generator=rng)[:count].clone()

    def slots(self, count: int, pushed: int) -> Tensor:
        """The slots for `count` new embeddings after so many pushed ones: those of the oldest, at most Q."""
        return ((pushed + torch.arange(count)) % len(self.keys_QD))[-len(self.keys_QD) :]

    def fill(self, slots: Tensor, keys_BPD: Tensor) -> None:
        """Put new embeddings into the slots; of more than there are slots the last stay."""
        self.keys_QD.index_copy_(0, slots, keys_BPD.flatten(0, 1)[-len(slots) :])


@dataclass(frozen=True)
class QueueSlots:
    """Slots of one queue: those whose embeddings are a step's negatives, none while it is too short; and those that the
    step's own patches will fill."""

    negatives: Tensor | None
    reserved: Tensor


register_dataclass(QueueSlots)


class ExternalNegatives(nn.Module):
    """A dictionary of patches of other source images, as in MoCo (He et al., CVPR 2020).

    Momentum copies of encoder and heads embed the source patches, a queue for each domain and layer keeps
    them. The paper names this construction (section 4.2); its settings were never published, so
    `ExternalConfig`'s are this project's own.
    """

    def __init__(
        self, config: ExternalConfig, generator: Generator, projector: Projector, domains: Iterable[str], units: int
    ) -> None:
        super().__init__()
        self.config = config
        self.layers = list(projector.heads)
        self.stages = copy.deepcopy(encoder_stages(generator, self.layers)).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self.queues = nn.ModuleDict(
            {
                domain: nn.ModuleDict({layer: PatchQueue(config.queue_size, units) for layer in self.layers})
                for domain in domains
            }
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many patches each queue has been given, by 'domain/layer'."""
        return {
            f"{domain}/{layer}": int(queue.pushed)
            for domain in self.queues
            for layer, queue in self._queues(domain).items()
        }

    def set_counts(self, counts: Counts) -> None:
        """Keep these counts."""
        for domain in self.queues:
            for layer, queue in self._queues(domain).items():
                queue.pushed.fill_(counts[f"{domain}/{layer}"])

    def sample(
        self, size: int, patch_ids: Mapping[str, PatchIds], rng: torch.Generator, counts: Counts
    ) -> tuple[dict[str, dict[str, QueueSlots]], dict[str, int]]:
        """For each domain and layer what a step over `size` images takes from its queue and brings to it; and the
        counts behind the step. Nothing is taken until the queue holds `warmup` patches."""
        draws: dict[str, dict[str, QueueSlots]] = {}
        after: dict[str, int] = {}
        for domain in self.queues:
            draws[domain] = {}
            for layer, queue in self._queues(domain).items():
                pushed, new = counts[f"{domain}/{layer}"], size * len(patch_ids[domain][layer])
                warm = queue.filled(pushed) >= self.config.warmup
                negatives = queue.sample(self.config.num_negatives, rng, pushed) if warm else None
                draws[domain][layer] = QueueSlots(negatives, queue.slots(new, pushed))
                after[f"{domain}/{layer}"] = pushed + new
        return draws, after

    def drawn(self, draws: Mapping[str, Mapping[str, QueueSlots]]) -> dict[str, dict[str, list[Negatives]]]:
        """The negatives (N, D) of each domain and layer; copies, which later embeddings leave alone."""
        return {
            domain: {
                layer: [] if draw.negatives is None else [partial(given, queues[layer].keys_QD[draw.negatives])]
                for layer, draw in layers.items()
            }
            for domain, layers in draws.items()
            for queues in [self._queues(domain)]
        }

    @torch.no_grad()
    def remember(
        self,
        sources: Mapping[str, Tensor],
        patch_ids: Mapping[str, PatchIds],
        draws: Mapping[str, Mapping[str, QueueSlots]],
    ) -> None:
        """Embed patches of each domain's source images with the momentum copies, all in one pass, and keep them in the
        slots that were reserved."""
        images, size = torch.cat(list(sources.values())), len(next(iter(sources.values())))
        embeddings = self.projector(encode(self.stages, images, self.layers), ids_of_images(patch_ids, size))
        for number, domain in enumerate(sources):
            for layer, queue in self._queues(domain).items():
                queue.fill(draws[domain][layer].reserved, embeddings[layer][number * size : (number + 1) * size])

    @torch.no_grad()
    def follow(self, generator: Generator, projector: Projector) -> None:
        """Move the momentum copies towards the networks: old * momentum + new * (1 - momentum)."""
        for copies, originals in ((self.stages, encoder_stages(generator, self.layers)), (self.projector, projector)):
            for old, new in zip(copies.parameters(), originals.parameters(), strict=True):
                old.lerp_(new, 1 - self.config.momentum)

    def _queues(self, domain: str) -> Mapping[str, PatchQueue]:
        queues = self.queues[domain]
        assert isinstance(queues, nn.ModuleDict)
        return {layer: queue for layer, queue in queues.items() if isinstance(queue, PatchQueue)}
