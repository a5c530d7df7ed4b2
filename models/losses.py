"""The least-squares adversarial loss, and the loss of the user's file."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from models.configs.own_code import OwnCode, OwnCodeError
from models.networks.layers import float32_or_wider

# Takes images of A and their translations, both (B, C, H, W) in [-1, 1].
ExtraLoss = Callable[[Tensor, Tensor], Tensor]


def lsgan(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean squared distance of the scores to 1 (real) or 0 (fake) (Mao et al., ICCV 2017)."""
    wide = scores.to(float32_or_wider(scores.dtype))
    return F.mse_loss(wide, wide.new_full((), float(real)).expand_as(wide))


def own_loss(code: OwnCode, name: str) -> ExtraLoss:
    """Return a loss of the user's file that checks what the user's function returns: one number."""
    function = code.function(name)

    def loss(source: Tensor, output: Tensor) -> Tensor:
        value = function(source, output)
        if not isinstance(value, Tensor) or value.ndim:
            found = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise OwnCodeError(f"{code.name}: {name} returned {found}; it must return a tensor of one number")
        return value

    return loss
