"""The adversarial losses, the penalty of the discriminator's gradient, and the loss of the user's file."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.own_code import OwnCode, OwnCodeError
from models.networks.layers import float32_or_wider

# Takes images of A and their translations, both (B, C, H, W) in [-1, 1].
ExtraLoss = Callable[[Tensor, Tensor], Tensor]


def lsgan(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean squared distance of the scores to 1 (real) or 0 (fake) (Mao et al., ICCV 2017)."""
    wide = _wide(scores)
    return F.mse_loss(wide, wide.new_full((), float(real)).expand_as(wide))


def hinge(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean distance of the scores to what is 1 or more (real), or -1 or less (fake) (Lim and Ye, 2017)."""
    return F.relu(1 - _wide(scores) if real else 1 + _wide(scores)).mean()


def non_saturating(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean -log of the probability that the scores are real, or fake (Goodfellow et al., NIPS 2014)."""
    return F.softplus(-_wide(scores) if real else _wide(scores)).mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Return the mean over images of the squared length of the gradient of their scores, times 0.5.

    The images (B, C, H, W) must require a gradient. Source: Mescheder et al. (ICML 2018), R1.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


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


def _wide(scores: Tensor) -> Tensor:
    return scores.to(float32_or_wider(scores.dtype))
