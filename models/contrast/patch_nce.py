"""The patchwise contrastive loss.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.negatives import Negatives, Patches


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
