"""CycleGAN's buffer of earlier fakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass


@dataclass(frozen=True)
class PoolChoices:
    """For each fake of a batch (B,) a slot of the pool, whether the image there is handed out in the fake's stead, and
    whether the fake takes its place."""

    slots: Tensor
    hands_out: Tensor
    keeps: Tensor


register_dataclass(PoolChoices)


class ImagePool(nn.Module):
    """Hands the discriminator earlier fakes half of the time (Shrivastava et al., CVPR 2017).

    Holds up to `size` images (C, H, W); its buffers stand in checkpoints. Size 0 passes images through.
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
        # The count stays with the host, which would have to wait for a device to read it.
        self.filled = filled
        return self

    def sample(self, count: int, rng: torch.Generator, filled: int) -> tuple[PoolChoices, int]:
        """What becomes of the next `count` fakes where so many images are held; and how many are held after them."""
        drawn: list[tuple[int, bool, bool]] = []
        for _ in range(count):
            drawn.append(self._sample_one(rng, filled))
            filled = min(filled + 1, self.size)
        slots, hands_out, keeps = zip(*drawn, strict=True)
        return PoolChoices(torch.tensor(slots), torch.tensor(hands_out), torch.tensor(keeps)), filled

    def _sample_one(self, rng: torch.Generator, filled: int) -> tuple[int, bool, bool]:
        if filled < self.size:
            return filled, False, True
        if self.size == 0 or torch.rand((), generator=rng) < 0.5:
            return 0, False, False
        return int(torch.randint(self.size, (), generator=rng)), True, True

    @torch.no_grad()
    def exchange(self, fakes: Tensor, draw: PoolChoices) -> Tensor:
        """For each fake (of B, C, H, W) itself or an earlier one, whose place it then takes."""
        if self.size == 0:
            return fakes.detach()
        handed: list[Tensor] = []
        # One after the other: a fake may be handed out to the next of its own batch.
        for fake, slot, hands_out, keeps in zip(
            fakes.detach().chunk(len(fakes)), draw.slots.chunk(len(fakes)), draw.hands_out, draw.keeps, strict=True
        ):
            earlier = self.images.index_select(0, slot)
            self.images.index_copy_(0, slot, torch.where(keeps, fake, earlier))
            handed.append(torch.where(hands_out, earlier, fake))
        return torch.cat(handed)
