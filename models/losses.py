"""The least-squares adversarial loss and the patchwise contrastive loss.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.negatives import Negatives


def lsgan(scores: Tensor, *, real: bool) -> Tensor:
    """Return the mean squared distance of the scores to 1 (real) or 0 (fake) (Mao et al., ICCV 2017)."""
    wide = scores.float()
    return F.mse_loss(wide, wide.new_full((), float(real)).expand_as(wide))


def patch_nce(query_BPD: Tensor, key_BPD: Tensor, negatives: Sequence[Negatives], temperature: float) -> Tensor:
    """Mean cross-entropy of picking each query's own key among that key and the negatives (the paper's eq. 3).

    Each source of negatives turns queries and keys into similarities (B, P, N); all stand in one softmax.
    """
    with torch.autocast(query_BPD.device.type, enabled=False):
        positive_BP1 = (query_BPD * key_BPD).sum(-1, keepdim=True)
        logits_BPN = torch.cat([positive_BP1, *(similarities(query_BPD, key_BPD) for similarities in negatives)], -1)
    targets = torch.zeros(logits_BPN.shape[:2].numel(), dtype=torch.long, device=logits_BPN.device)
    return F.cross_entropy(logits_BPN.flatten(0, 1) / temperature, targets)
