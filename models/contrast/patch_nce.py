"""The patchwise contrastive loss.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.negatives import Negatives, Patches, similarities


def patch_nce(patches: Patches, sources: Sequence[Negatives], temperature: float) -> Tensor:
    """Return the loss against the negatives of the sources. All weigh the same."""
    with torch.autocast(patches.query_BPD.device.type, enabled=False):
        negative_BPN = similarities(patches, sources)
    return contrast_loss(patches, negative_BPN, temperature)


def contrast_loss(patches: Patches, negative_BPN: Tensor, temperature: float, *, decoupled: bool = False) -> Tensor:
    """Return the mean cross-entropy of picking each query's own key among that key and the negatives.

    Equation 3 of Park et al. (ECCV 2020). negative_BPN: similarities of the queries to the negatives. decoupled: the
    sum of exponentials is over the negatives alone (Yeh et al., ECCV 2022). Without negatives the loss is 0.
    """
    with torch.autocast(patches.query_BPD.device.type, enabled=False):
        positive_BP1 = (patches.query_BPD * patches.key_BPD).sum(-1, keepdim=True)
        if decoupled and negative_BPN.shape[-1]:
            return ((negative_BPN / temperature).logsumexp(-1) - positive_BP1[..., 0] / temperature).mean()
        logits_BPN = torch.cat([positive_BP1, negative_BPN], -1)
    targets = torch.zeros(logits_BPN.shape[:2].numel(), dtype=torch.long, device=logits_BPN.device)
    return F.cross_entropy(logits_BPN.flatten(0, 1) / temperature, targets)
