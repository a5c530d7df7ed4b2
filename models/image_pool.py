"""CycleGAN's buffer of earlier fakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass


@dataclass(frozen=True)
class PoolChoices:
    """For each fake of a batch (B,): a slot, whether the pool hands out the image in it, and whether the fake then
    fills it."""

    slots: Tensor
    hands_out: Tensor
    keeps: Tensor


register_dataclass(PoolChoices)


class ImagePool(nn.Module):
    """Hands the discriminator earlier fakes half of the time (Shrivastava et al., CVPR 2017).

    Holds up to `size` images (C, H, W). Checkpoints hold its buffers. Size 0 passes images through.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        filled = self.filled
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        # The host reads the count. On a device it would have to wait for it.
        self.filled = filled
        return self

    def sample(self, count: int, rng: torch.Generator, filled: int) -> tuple[PoolChoices, int]:
        """Choose for the next `count` fakes, when the pool holds `filled` images. Return that and the number after."""
        chosen: list[tuple[int, bool, bool]] = []
        for _ in range(count):
            chosen.append(self._sample_one(rng, filled))
            filled = min(filled + 1, self.size)
        slots, hands_out, keeps = zip(*chosen, strict=True)
        return PoolChoices(torch.tensor(slots), torch.tensor(hands_out), torch.tensor(keeps)), filled

    def _sample_one(self, rng: torch.Generator, filled: int) -> tuple[int, bool, bool]:
        if filled < self.size:
            return filled, False, True
        if self.size == 0 or torch.rand((), generator=rng) < 0.5:
            return 0, False, False
        return int(torch.randint(self.size, (), generator=rng)), True, True

    @torch.no_grad()
    def exchange(self, fakes: Tensor, choices: PoolChoices) -> Tensor:
        """Return each fake (of B, C, H, W), or an earlier one whose slot the fake then fills."""
        if self.size == 0:
            return fakes.detach()
        handed: list[Tensor] = []
        singly, slots = fakes.detach().chunk(len(fakes)), choices.slots.chunk(len(fakes))
        # One by one: the pool may hand out a fake for a later one of its batch.
        for fake, slot, hands_out, keeps in zip(singly, slots, choices.hands_out, choices.keeps, strict=True):
            earlier = self.images.index_select(0, slot)
            self.images.index_copy_(0, slot, torch.where(keeps, fake, earlier))
            handed.append(torch.where(hands_out, earlier, fake))
        return torch.cat(handed)
