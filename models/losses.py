"""The least-squares adversarial loss and the patchwise contrastive loss.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.negatives import Negatives, Patches
from models.networks.layers import float32_or_wider
from models.own_code import OwnCode, OwnCodeError

# Takes images of A and their translations, both (B, C, H, W) in [-1, 1].
ExtraLoss = Callable[[Tensor, Tensor], Tensor]


def lsgan(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean squared distance of the scores to 1 (real) or 0 (fake) (Mao et al., ICCV 2017)."""
    wide = scores.to(float32_or_wider(scores.dtype))
    return F.mse_loss(wide, wide.new_full((), float(real)).expand_as(wide))


def patch_nce(patches: Patches, sources: Sequence[Negatives], temperature: float) -> Tensor:
    """Return the mean cross-entropy of picking each query's own key among that key and the negatives.

    Equation 3 of Park et al. (ECCV 2020). Each source turns the patches into similarities (B, P, N). One softmax takes
    all of them.
    """
    query_BPD, key_BPD = patches.query_BPD, patches.key_BPD
    with torch.autocast(query_BPD.device.type, enabled=False):
        positive_BP1 = (query_BPD * key_BPD).sum(-1, keepdim=True)
        logits_BPN = torch.cat([positive_BP1, *(source(patches) for source in sources)], -1)
    targets = torch.zeros(logits_BPN.shape[:2].numel(), dtype=torch.long, device=logits_BPN.device)
    return F.cross_entropy(logits_BPN.flatten(0, 1) / temperature, targets)


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
