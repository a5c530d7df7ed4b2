"""Negatives that a network makes for each image, as in NEGCUT (Wang et al., ICCV 2021).

The network is trained against the encoder: it maximises what the generator and its heads minimise. As in
WeilunWang/NEGCUT @ c7dbe3d.

B batch, C channels, S positions of a map, M negatives, E numbers of noise, D embedding units.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from models.configs.contrast import GeneratedConfig
from models.networks.layers import initialise
from models.networks.projector import Projector, normalise

# Positions of a map that are embedded at once.
POSITIONS = 16_384


class GeneratedNegatives(nn.Module):
    """One network per layer, and a copy of the heads that follows them.

    The copy embeds all positions of the source's features. Their mean and noise are the network's input.
    """

    def __init__(self, config: GeneratedConfig, layer_channels: Mapping[str, int], units: int) -> None:
        super().__init__()
        self.config = config
        self.networks = nn.ModuleDict(
            {
                layer: nn.Sequential(nn.Linear(units + config.noise_size, units), nn.ReLU(), nn.Linear(units, units))
                for layer in layer_channels
            }
        )
        self.projector = Projector(layer_channels, units).requires_grad_(False)

    def initialise(self, rng: torch.Generator) -> None:
        """Sample the initial weights. The copy of the heads starts with weights of its own, as in the released code."""
        initialise(self.networks, rng)
        initialise(self.projector, rng)

    def sample(self, size: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Sample the noise (B, M, E) of each layer for `size` images of one domain."""
        shape = (size, self.config.num_negatives, self.config.noise_size)
        return {layer: torch.randn(shape, generator=rng) for layer in self.networks}

    @torch.no_grad()
    def follow(self, projector: Projector) -> None:
        """Move the copy towards the heads: old * momentum + new * (1 - momentum)."""
        for old, new in zip(self.projector.parameters(), projector.parameters(), strict=True):
            old.lerp_(new, 1 - self.config.momentum)

    def means(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean embedding (B, D) over all positions of each layer's features (B, C, H, W).

        It has a gradient into the features if `through_encoder` is set. The backward pass computes the embeddings again
        instead of keeping them.
        """
        with torch.set_grad_enabled(self.config.through_encoder and torch.is_grad_enabled()):
            kept = features if torch.is_grad_enabled() else {layer: map_.detach() for layer, map_ in features.items()}
            return {layer: _mean_embedding(head, kept[layer]) for layer, head in self.projector.heads.items()}

    def forward(self, means: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Make negatives (B, M, D) of length 1 for each layer."""
        made: dict[str, Tensor] = {}
        for layer, network in self.networks.items():
            noise_BME, mean_BD = noise[layer].to(means[layer].dtype), means[layer]
            mean_BMD = mean_BD[:, None].expand(-1, noise_BME.shape[1], -1)
            made[layer] = normalise(network(torch.cat([mean_BMD, noise_BME], -1)))
        return made


def diversity(negatives_BMD: Tensor) -> Tensor:
    """Return the mean absolute difference between the first and the second half of the negatives."""
    first, second = negatives_BMD.chunk(2, 1)
    return (first - second).abs().mean()


def _mean_embedding(head: nn.Module, features_BCHW: Tensor) -> Tensor:
    """Return the mean (B, D) of the embeddings, each of length 1. The mean is shorter."""
    embed = partial(_sum_of_embeddings, head)
    sums: list[Tensor] = []
    for features_BCS in torch.split(features_BCHW.flatten(2), POSITIONS, -1):
        if torch.is_grad_enabled():
            sums.append(checkpoint(embed, features_BCS, use_reentrant=False, preserve_rng_state=False))
        else:
            sums.append(embed(features_BCS))
    return torch.stack(sums).sum(0) / features_BCHW.shape[-2:].numel()


def _sum_of_embeddings(head: nn.Module, features_BCS: Tensor) -> Tensor:
    return normalise(head(features_BCS.mT)).sum(1)
