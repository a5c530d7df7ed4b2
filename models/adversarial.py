"""The least-squares adversarial loss."""

import torch.nn.functional as F
from torch import Tensor


def lsgan(scores: Tensor, *, real: bool) -> Tensor:
    """Mean squared distance of the scores to 1 (real) or 0 (fake) (Mao et al., ICCV 2017)."""
    wide = scores.float()
    return F.mse_loss(wide, wide.new_full((), float(real)).expand_as(wide))
