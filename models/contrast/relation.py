"""Consistency of the similarities among patches.

B batch, P patches, D embedding units.
"""

import math

import torch
from torch import Tensor

from models.negatives import Patches


def semantic_relation(patches: Patches) -> Tensor:
    """Return how far the similarities among the output's patches are from those among the source's.

    The Jensen-Shannon divergence of both distributions, summed over the patches and averaged over the images. So it
    grows with the number of patches. The source's distribution has no gradient. As in the released code of Jung et al.
    (CVPR 2022; jcy132/Hneg_SRC @ 9a9647d), which has one image in a batch.
    """
    with torch.autocast(patches.query_BPD.device.type, enabled=False):
        output_BPP = (patches.query_BPD @ patches.query_BPD.mT).log_softmax(-2)
        source_BPP = (patches.key_BPD @ patches.key_BPD.mT).log_softmax(-2).detach()
        middle_BPP = torch.logaddexp(output_BPP, source_BPP) - math.log(2)
        of_output_BPP = output_BPP.exp() * (output_BPP - middle_BPP)
        of_source_BPP = source_BPP.exp() * (source_BPP - middle_BPP)
        return 0.5 * (of_output_BPP + of_source_BPP).sum((-2, -1)).mean()
