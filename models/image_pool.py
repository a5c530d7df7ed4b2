"""CycleGAN's buffer of earlier fakes."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Hands the discriminator earlier fakes half of the time (Shrivastava et al., CVPR 2017).

    Holds up to `size` images (C, H, W); its buffers stand in checkpoints. Size 0 passes images through.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def query(self, fakes: Tensor, rng: torch.Generator) -> Tensor:
        """For each fake (of B, C, H, W) itself or an earlier one, whose place it then takes."""
        return torch.stack([self._exchange(fake, rng) for fake in fakes.detach()])

    def _exchange(self, fake: Tensor, rng: torch.Generator) -> Tensor:
        size, filled = len(self.images), int(self.filled)
        if filled < size:
            self.images[filled] = fake
            self.filled += 1
            return fake
        if size == 0 or torch.rand((), generator=rng) < 0.5:
            return fake
        slot = int(torch.randint(size, (), generator=rng))
        earlier = self.images[slot].clone()
        self.images[slot] = fake
        return earlier
