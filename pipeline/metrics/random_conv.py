"""A small fixed random network that extracts features for the embedded task: no download, milliseconds on a CPU.

Its distances are not Inception's FID and have other names (`pipeline.metrics.names.metric_names`).
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from pipeline.metrics.names import SMALL_CONV

WIDTHS = (3, 16, 24, 32)
LAYER = str(2 * sum(WIDTHS[1:]))


class SmallConvExtractor(FeatureExtractorBase):
    """Three strided 5 x 5 convolutions with fixed random weights; features are each channel's mean and deviation.

    (B, 3, H, W) of 8 bits -> (B, 144). The first layer sees colour, the last one the width of the stripes.
    """

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        rng = torch.Generator().manual_seed(2020)
        for number, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
            filters = torch.randn(outputs, inputs, 5, 5, generator=rng)
            self.register_buffer(f"filters{number}", filters / filters.flatten(1).norm(dim=1)[:, None, None, None])

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return LAYER

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, input: Tensor) -> tuple[Tensor]:
        x = input.float() / 127.5 - 1
        statistics: list[Tensor] = []
        for number in range(len(WIDTHS) - 1):
            x = F.relu(F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), getattr(self, f"filters{number}"), stride=2))
            statistics += [x.mean((2, 3)), x.std((2, 3))]
        # The factor gives visibly different images a distance of some tens. It scales all distances equally.
        return (10 * torch.cat(statistics, 1),)


def register() -> None:
    """Register the extractor with torch-fidelity, once a process."""
    if SMALL_CONV not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(SMALL_CONV, SmallConvExtractor)
