"""The patchwise contrastive loss.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.negatives import Negatives, Patches


def patch_nce(patches: Patches, sources: Sequence[Negatives], temperature: float) -> Tensor:
    """Return the loss against the negatives of the sources. All weigh the same."""
    with torch.autocast(patches.query_BPD.device.type, enabled=False):
        positive_BP1 = similarities_to_own_keys(patches)
        return contrast_loss(positive_BP1, [source(patches) for source in sources], temperature)


def similarities_to_own_keys(patches: Patches) -> Tensor:
    """Return the similarity (B, P, 1) of each query to its positive."""
    return (patches.query_BPD * patches.key_BPD).sum(-1, keepdim=True)


def contrast_loss(
    positive_BP1: Tensor, negatives: Sequence[Tensor], temperature: float, *, decoupled: bool = False
) -> Tensor:
    """Return the mean cross-entropy of picking each query's own key among that key and the negatives.

    Equation 3 of Park et al. (ECCV 2020). negatives: similarities (B, P, N) of the queries to those of each source.
    decoupled: the sum of exponentials is over the negatives alone (Yeh et al., ECCV 2022). Without negatives the loss
    is 0.
    """
    if decoupled and any(negative_BPN.shape[-1] for negative_BPN in negatives):
        return ((torch.cat([*negatives], -1) / temperature).logsumexp(-1) - positive_BP1[..., 0] / temperature).mean()
    logits_BPN = torch.cat([positive_BP1, *negatives], -1)
    targets = torch.zeros(logits_BPN.shape[:2].numel(), dtype=torch.long, device=logits_BPN.device)
    return F.cross_entropy(logits_BPN.flatten(0, 1) / temperature, targets)
