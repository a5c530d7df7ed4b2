"""Patches of feature maps, and the two-layer heads that embed them.

B batch, C channels, P patches, D embedding units.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

PatchIds = Mapping[str, Tensor]


def draw_patch_ids(
    positions: Mapping[str, int], count: int, rng: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """At each place, `count` different positions of its map; the same ids serve every image of a batch.

    Drawn on the CPU, so that a seed means the same on every device, and moved there.
    """
    return {place: torch.randperm(total, generator=rng)[:count].to(device) for place, total in positions.items()}


def sample_patches(features_BCHW: Tensor, ids_P: Tensor) -> Tensor:
    """The feature vectors at the given positions of the flattened map: (B, C, H, W) -> (B, P, C)."""
    return features_BCHW.flatten(2).index_select(2, ids_P).transpose(1, 2)


class Projector(nn.Module):
    """One two-layer MLP head a place; embeddings have length 1 (CUT's 'mlp_sample')."""

    def __init__(self, place_channels: Mapping[str, int], units: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                place: nn.Sequential(nn.Linear(channels, units), nn.ReLU(), nn.Linear(units, units))
                for place, channels in place_channels.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor], ids: PatchIds) -> dict[str, Tensor]:
        """Features (B, C, H, W) and ids (P,) of each place -> embeddings (B, P, D) of each place."""
        return {
            place: normalise(head(sample_patches(features[place], ids[place]))) for place, head in self.heads.items()
        }


def normalise(x_BPD: Tensor) -> Tensor:
    """Divide by the length; the reference's 1e-7 keeps a zero vector finite."""
    length_BP1 = cast(Tensor, torch.linalg.vector_norm(x_BPD, dim=-1, keepdim=True))  # pyright: ignore[reportUnknownMemberType]
    return x_BPD / (length_BP1 + 1e-7)
