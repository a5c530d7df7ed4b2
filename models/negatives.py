"""Where negatives come from: parts that compose, each a function of queries and keys.

B batch, P patches, N negatives, D embedding units, Q queue length.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from models.configs import ExternalConfig
from models.generator import Generator, encode, encoder_stages
from models.projector import PatchIds, Projector, ids_of_images

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
    """The latest Q embeddings of one domain and place, a ring; its buffers stand in checkpoints."""

    keys_QD: Tensor
    pushed: Tensor

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.register_buffer("keys_QD", torch.zeros(size, units))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @property
    def filled(self) -> int:
        """Patches held so far, at most Q."""
        return min(int(self.pushed), len(self.keys_QD))

    def push(self, keys_BPD: Tensor) -> None:
        """Overwrite the oldest embeddings; of more than Q the last Q stay."""
        size, keys_ND = len(self.keys_QD), keys_BPD.flatten(0, 1)
        slots = (int(self.pushed) + torch.arange(len(keys_ND))) % size
        self.keys_QD[slots[-size:]] = keys_ND[-size:]
        self.pushed += len(keys_ND)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` different embeddings (N, D); a copy, so that later pushes leave it alone."""
        return self.keys_QD[torch.randperm(self.filled, generator=rng)[:count]]


class ExternalNegatives(nn.Module):
    """A dictionary of patches of other source images, as in MoCo (He et al., CVPR 2020).

    Momentum copies of encoder and heads embed the source patches, a queue for each domain and place keeps
    them. The paper names this construction (section 4.2); its settings were never published, so
    `ExternalConfig`'s are this project's own.
    """

    def __init__(
        self, config: ExternalConfig, generator: Generator, projector: Projector, domains: Iterable[str], units: int
    ) -> None:
        super().__init__()
        self.config = config
        self.places = list(projector.heads)
        self.stages = copy.deepcopy(encoder_stages(generator, self.places)).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self.queues = nn.ModuleDict(
            {
                domain: nn.ModuleDict({place: PatchQueue(config.queue_size, units) for place in self.places})
                for domain in domains
            }
        )

    @torch.no_grad()
    def draw(self, domain: str, rng: torch.Generator) -> dict[str, list[Negatives]]:
        """For each place the drawn negatives; none at all until the queue holds `warmup` patches."""
        queues = self._queues(domain)
        return {
            place: [partial(given, queue.draw(self.config.num_negatives, rng))]
            if queue.filled >= self.config.warmup
            else []
            for place, queue in queues.items()
        }

    @torch.no_grad()
    def push(self, sources: Mapping[str, Tensor], patch_ids: Mapping[str, PatchIds]) -> None:
        """Embed patches of each domain's source images with the momentum copies, all in one pass, and remember them."""
        images, size = torch.cat(list(sources.values())), len(next(iter(sources.values())))
        embeddings = self.projector(encode(self.stages, images, self.places), ids_of_images(patch_ids, size))
        for number, domain in enumerate(sources):
            for place, queue in self._queues(domain).items():
                queue.push(embeddings[place][number * size : (number + 1) * size])

    @torch.no_grad()
    def follow(self, generator: Generator, projector: Projector) -> None:
        """Move the momentum copies towards the networks: old * momentum + new * (1 - momentum)."""
        for copies, originals in ((self.stages, encoder_stages(generator, self.places)), (self.projector, projector)):
            for old, new in zip(copies.parameters(), originals.parameters(), strict=True):
                old.lerp_(new, 1 - self.config.momentum)

    def _queues(self, domain: str) -> Mapping[str, PatchQueue]:
        queues = self.queues[domain]
        assert isinstance(queues, nn.ModuleDict)
        return {place: queue for place, queue in queues.items() if isinstance(queue, PatchQueue)}
