"""Patches of feature maps, and the two-layer MLP heads that embed them.

Where the patches of each layer lie is said by ids (P,) for all images or (B, P) for each of them, or by weights
(B, P, S) that mix the features of all positions.

B batch, C channels, S positions of a map, N of all maps, P patches, D embedding units.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from models.networks.layers import float32_or_wider, is_channels_last

PatchIds = Mapping[str, Tensor]


def sample_patch_ids(positions: Mapping[str, int], count: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Sample `count` different positions of each layer's map. All images of a batch share them."""
    return {layer: torch.randperm(total, generator=rng)[:count] for layer, total in positions.items()}


def ids_of_images(patch_ids: Mapping[str, PatchIds], size: int) -> dict[str, Tensor]:
    """Return each layer's ids (B, P) or weights (B, P, S) for all images, `size` images of each domain."""
    layers = next(iter(patch_ids.values()))
    return {layer: torch.cat([_of_each(ids[layer], size) for ids in patch_ids.values()]) for layer in layers}


def _of_each(ids: Tensor, size: int) -> Tensor:
    return ids.expand(size, -1) if ids.dim() == 1 else ids


def gather_patches(features_BCHW: Tensor, ids: Tensor) -> Tensor:
    """Return the feature vectors of patches: (B, C, H, W) -> (B, P, C). ids: ids or weights, as above."""
    size, channels = features_BCHW.shape[:2]
    if ids.is_floating_point():
        return ids.to(features_BCHW.dtype) @ features_BCHW.flatten(2).mT
    ids_BP = ids.expand(size, -1)
    # Both ways give a gradient in the memory layout of the features.
    if is_channels_last(features_BCHW):
        pixels_NC = features_BCHW.permute(0, 2, 3, 1).flatten(0, 2)
        first_B = torch.arange(0, len(pixels_NC), len(pixels_NC) // size, device=ids.device)
        return pixels_NC.index_select(0, (ids_BP + first_B[:, None]).flatten()).view(*ids_BP.shape, channels)
    return features_BCHW.flatten(2).gather(2, ids_BP[:, None].expand(-1, channels, -1)).transpose(1, 2)


class Projector(nn.Module):
    """One two-layer MLP head per layer. Embeddings have length 1 (CUT's 'mlp_sample')."""

    def __init__(self, layer_channels: Mapping[str, int], units: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                layer: nn.Sequential(nn.Linear(channels, units), nn.ReLU(), nn.Linear(units, units))
                for layer, channels in layer_channels.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor], ids: PatchIds) -> dict[str, Tensor]:
        """Embed patches: features (B, C, H, W) and ids or weights of each layer -> (B, P, D) of each layer."""
        return {
            layer: normalise(head(gather_patches(features[layer], ids[layer]))) for layer, head in self.heads.items()
        }


def normalise(x_BPD: Tensor) -> Tensor:
    """Divide by the length, in float32 or wider. The reference code's 1e-7 keeps a zero vector finite."""
    x_BPD = x_BPD.to(float32_or_wider(x_BPD.dtype))
    length_BP1 = cast(Tensor, torch.linalg.vector_norm(x_BPD, dim=-1, keepdim=True))  # pyright: ignore[reportUnknownMemberType]
    return x_BPD / (length_BP1 + 1e-7)
