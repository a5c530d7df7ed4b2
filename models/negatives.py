"""Sources of negatives for PatchNCE.

A source is a function of `Patches`. To add one, write it here, enter it in `SOURCES`, and add its name to
`models.configs.NEGATIVE_SOURCES`. A user's source is a function of the user's own file.

B batch, P patches, N negatives, D embedding units, Q queue length.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs import CUTConfig, ExternalConfig
from models.networks.generator import Generator, encode, encoder_stages
from models.networks.projector import PatchIds, Projector, ids_of_images
from models.objective import ALONE, Counts, Ranks
from models.own_code import OwnCode, OwnCodeError

# The reference code sets a query's similarity to its own key to -10. That key is already the positive.
OWN_KEY = -10.0


@dataclass(frozen=True)
class Patches:
    """What sources of negatives get: the embeddings of one domain at one layer.

    A query's positive is the key of the same image and patch. queued_ND: embeddings of earlier images; None without
    external negatives, and while their queue is too short. elsewhere_ND: with minibatch negatives, the keys of the
    batch's images that other processes have; None with one process.
    """

    query_BPD: Tensor
    key_BPD: Tensor
    queued_ND: Tensor | None = None
    elsewhere_ND: Tensor | None = None


Negatives = Callable[[Patches], Tensor]


def internal(patches: Patches) -> Tensor:
    """Return similarities (B, P, P) to the other patches of the same image."""
    similarity_BPP = patches.query_BPD @ patches.key_BPD.mT
    own = torch.eye(similarity_BPP.shape[-1], dtype=torch.bool, device=similarity_BPP.device)
    return similarity_BPP.masked_fill(own, OWN_KEY)


def minibatch(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to all other patches of all images of the batch, N of them in all processes."""
    query_1ND, key_1ND = patches.query_BPD.flatten(0, 1)[None], patches.key_BPD.flatten(0, 1)[None]
    similarity_1NN = internal(replace(patches, query_BPD=query_1ND, key_BPD=key_1ND))
    similarity_BPN = similarity_1NN.reshape(*patches.query_BPD.shape[:2], -1)
    if patches.elsewhere_ND is None:
        return similarity_BPN
    return torch.cat([similarity_BPN, patches.query_BPD @ patches.elsewhere_ND.mT], -1)


def external(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to the embeddings from the queue: the same N for every query, or none."""
    if patches.queued_ND is None:
        return patches.query_BPD.new_empty(*patches.query_BPD.shape[:2], 0)
    return patches.query_BPD @ patches.queued_ND.mT


# In the order in which their similarities stand in the softmax.
SOURCES: dict[str, Negatives] = {"internal": internal, "minibatch": minibatch, "external": external}


def chosen_sources(config: CUTConfig) -> list[Negatives]:
    """Return the model's sources of negatives: first this project's, then those of the user's file."""
    sources = [source for name, source in SOURCES.items() if name in config.negatives]
    own = [name for name in config.negatives if name not in SOURCES]
    assert config.code is not None or not own, "`CUTConfig` has checked the names"
    return [*sources, *(_own_source(config.code, name) for name in own if config.code)]


def _own_source(code: OwnCode, name: str) -> Negatives:
    """Return a source of the user's file that checks the shape of what the user's function returns."""
    function = code.function(name)

    def source(patches: Patches) -> Tensor:
        similarities, expected = function(patches), tuple(patches.query_BPD.shape[:2])
        if not isinstance(similarities, Tensor) or similarities.ndim != 3 or similarities.shape[:2] != expected:
            found = tuple(similarities.shape) if isinstance(similarities, Tensor) else type(similarities).__name__
            raise OwnCodeError(
                f"{code.name}: {name} returned {found}; it must return a tensor of similarities (B, P, N), here "
                f"({expected[0]}, {expected[1]}, N)"
            )
        return similarities

    return source


@dataclass(frozen=True)
class QueueSlots:
    """Slots of one queue in one step.

    read: those of the step's negatives; None while the queue is too short. write: those that the step's own patches
    will fill.
    """

    read: Tensor | None
    write: Tensor


register_dataclass(QueueSlots)


class PatchQueue(nn.Module):
    """A ring buffer of the latest Q embeddings of one domain and layer. Checkpoints hold its buffers."""

    keys_QD: Tensor
    pushed: Tensor

    def __init__(self, config: ExternalConfig, units: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("keys_QD", torch.zeros(config.queue_size, units))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        pushed = self.pushed
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        # The host reads the count. On a device it would have to wait for it.
        self.pushed = pushed
        return self

    def sample(self, new: int, rng: torch.Generator, pushed: int) -> tuple[QueueSlots, int]:
        """Choose the slots of a step with `new` patches, after `pushed` patches. Return them and the count after it."""
        size = self.config.queue_size
        write = ((pushed + torch.arange(new)) % size)[-size:]
        filled = min(pushed, size)
        if filled < self.config.warmup:
            return QueueSlots(None, write), pushed + new
        # A copy, because the step would keep the whole permutation otherwise.
        read = torch.randperm(filled, generator=rng)[: self.config.num_negatives].clone()
        return QueueSlots(read, write), pushed + new

    def exchange(self, keys_BPD: Tensor, slots: QueueSlots) -> Tensor | None:
        """Return a copy of the embeddings (N, D) to read, then write the new ones. Of more than Q, keep the last Q."""
        read_ND = None if slots.read is None else self.keys_QD[slots.read]
        self.keys_QD.index_copy_(0, slots.write, keys_BPD.flatten(0, 1)[-len(slots.write) :])
        return read_ND


class ExternalNegatives(nn.Module):
    """A dictionary of patches of other source images, as in MoCo (He et al., CVPR 2020).

    A momentum copy of encoder and heads embeds the source patches. Each domain and layer has a queue of them. A step
    calls `sample` on the host, then `update` on the device. The paper names this construction (section 4.2) but not
    its settings, so `ExternalConfig`'s are this project's own.
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
            {domain: nn.ModuleDict({layer: PatchQueue(config, units) for layer in self.layers}) for domain in domains}
        )

    @property
    def counts(self) -> Counts:
        """How many patches each queue was given, by 'domain/layer'."""
        return {f"{domain}/{layer}": int(queue.pushed) for domain, layer, queue in self._each_queue()}

    def set_counts(self, counts: Counts) -> None:
        """Set how many patches each queue was given."""
        for domain, layer, queue in self._each_queue():
            queue.pushed.fill_(counts[f"{domain}/{layer}"])

    def sample(
        self, size: int, patch_ids: Mapping[str, PatchIds], rng: torch.Generator, counts: Counts
    ) -> tuple[dict[str, QueueSlots], Counts]:
        """Choose a step's slots of each queue, by 'domain/layer', for `size` images a domain. Return them and the
        counts after the step."""
        slots: dict[str, QueueSlots] = {}
        after: dict[str, int] = {}
        for domain, layer, queue in self._each_queue():
            name, new = f"{domain}/{layer}", size * len(patch_ids[domain][layer])
            slots[name], after[name] = queue.sample(new, rng, counts[name])
        return slots, after

    @torch.no_grad()
    def update(
        self,
        generator: Generator,
        projector: Projector,
        sources: Mapping[str, Tensor],
        patch_ids: Mapping[str, PatchIds],
        slots: Mapping[str, QueueSlots],
        ranks: Ranks = ALONE,
    ) -> dict[str, Tensor]:
        """Return the step's negatives (N, D), by 'domain/layer'; a queue that is too short has none.

        Then replace them: move the momentum copies towards `generator` and `projector`, embed the patches of each
        domain's source images in one pass, and write those of all processes to the slots.
        """
        self._follow(generator, projector)
        images, size = torch.cat(list(sources.values())), len(next(iter(sources.values())))
        embeddings = self.projector(encode(self.stages, images, self.layers), ids_of_images(patch_ids, size))
        negatives: dict[str, Tensor] = {}
        first = {domain: number * size for number, domain in enumerate(sources)}
        for domain, layer, queue in self._each_queue():
            keys_BPD = embeddings[layer][first[domain] : first[domain] + size]
            read_ND = queue.exchange(ranks.gather(keys_BPD), slots[f"{domain}/{layer}"])
            if read_ND is not None:
                negatives[f"{domain}/{layer}"] = read_ND
        return negatives

    def _follow(self, generator: Generator, projector: Projector) -> None:
        """Move the momentum copies towards the networks: old * momentum + new * (1 - momentum)."""
        for copies, originals in ((self.stages, encoder_stages(generator, self.layers)), (self.projector, projector)):
            for old, new in zip(copies.parameters(), originals.parameters(), strict=True):
                old.lerp_(new, 1 - self.config.momentum)

    def _each_queue(self) -> Iterator[tuple[str, str, PatchQueue]]:
        """Yield domain, layer and queue, in the order in which slots are chosen."""
        for domain, queues in self.queues.items():
            assert isinstance(queues, nn.ModuleDict)
            for layer, queue in queues.items():
                assert isinstance(queue, PatchQueue)
                yield domain, layer, queue
