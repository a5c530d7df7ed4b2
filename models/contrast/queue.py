"""External negatives: queues of patches of earlier images, embedded by a momentum copy.

B batch, P patches, N negatives, D embedding units, Q queue length.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs.contrast import ExternalConfig
from models.networks.generator import Generator, encode, encoder_stages
from models.networks.projector import PatchIds, Projector, ids_of_images
from models.objective import ALONE, Counts, Ranks


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

    def sample(self, new: int, rng: torch.Generator, counts: Counts) -> tuple[dict[str, QueueSlots], Counts]:
        """Choose a step's slots of each queue, by 'domain/layer', for `new` patches. Return them and the counts after
        the step."""
        slots: dict[str, QueueSlots] = {}
        after: dict[str, int] = {}
        for domain, layer, queue in self._each_queue():
            name = f"{domain}/{layer}"
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
    ) -> dict[str, dict[str, Tensor]]:
        """Return the step's negatives (N, D) by domain and layer; a queue that is too short has none.

        Then replace them: move the momentum copies towards `generator` and `projector`, embed the patches of each
        domain's source images in one pass, and write those of all processes to the slots.
        """
        self._follow(generator, projector)
        images, size = torch.cat(list(sources.values())), len(next(iter(sources.values())))
        embeddings = self.projector(encode(self.stages, images, self.layers), ids_of_images(patch_ids, size))
        negatives: dict[str, dict[str, Tensor]] = {domain: {} for domain in sources}
        first = {domain: number * size for number, domain in enumerate(sources)}
        for domain, layer, queue in self._each_queue():
            keys_BPD = embeddings[layer][first[domain] : first[domain] + size]
            read_ND = queue.exchange(ranks.gather(keys_BPD), slots[f"{domain}/{layer}"])
            if read_ND is not None:
                negatives[domain][layer] = read_ND
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
