"""Which patches of an output are the queries.

Ids say where a layer's patches are: (P,) for all images or (B, P) for each. Attention gives weights (B, P, S) instead,
which mix the features of all positions.

B batch, C channels, S positions of a map, P patches.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.contrast import AttentionConfig, GuidedConfig
from models.configs.cut import CUTConfig
from models.networks.layers import float32_or_wider
from models.networks.projector import PatchIds, sample_patch_ids

# Positions on each side of the middle of a local window.
REACH = 3
# Rows of the attention matrix that exist at once while its entropies are computed.
ROWS = 1024


def sample_choice(config: CUTConfig, positions: Mapping[str, int], rng: torch.Generator) -> PatchIds:
    """Sample what a step's patches are chosen from, at each layer: the patches themselves, or candidates too."""
    if config.queries != "discriminator":
        return sample_patch_ids(positions, config.num_patches, rng)
    return {layer: sample_guided(count, config.num_patches, config.guided, rng) for layer, count in positions.items()}


def choose_patches(
    config: CUTConfig, sampled: PatchIds, features: Mapping[str, Tensor], scores_B1HW: Tensor | None
) -> PatchIds:
    """Return where one domain's patches are, at each layer.

    features: (B, C, H, W) of the source. scores_B1HW: the discriminator's, of the output, for queries=discriminator.
    """
    match config.queries:
        case "random":
            return sampled
        case "attention":
            attending, count = config.attention, config.num_patches
            chosen = {layer: attended(features[layer], count, attending) for layer in attending.layers}
            return {layer: chosen.get(layer, ids) for layer, ids in sampled.items()}
        case "discriminator":
            assert scores_B1HW is not None
            sizes = {layer: (feature.shape[-2], feature.shape[-1]) for layer, feature in features.items()}
            return {
                layer: least_real(scores_B1HW, ids, sizes[layer], config.num_patches, config.guided)
                for layer, ids in sampled.items()
            }


def attended(features_BCHW: Tensor, count: int, config: AttentionConfig) -> Tensor:
    """Return the weights (B, count, S) of the positions that attend most sharply: those of the lowest entropy.

    A position's weights are the softmax of its products with the features of the positions in its window. The choice
    has no gradient, the weights have. In float32 or wider: many rows are almost one-hot, and their order would depend
    on rounding. As in sapphire497/query-selected-attention @ c2c5e40 (Hu et al., CVPR 2022).
    """
    height, width = features_BCHW.shape[-2:]
    wide_BSC = features_BCHW.to(float32_or_wider(features_BCHW.dtype)).flatten(2).mT
    with torch.autocast(features_BCHW.device.type, enabled=False):
        local = config.window in ("local", "local_global")
        with torch.no_grad():
            entropy_BS = _entropies(wide_BSC, height, width, local=local)
            chosen_BP = entropy_BS.topk(count, largest=False).indices
        chosen_BPC = wide_BSC.gather(1, chosen_BP[..., None].expand(-1, -1, wide_BSC.shape[-1]))
        products_BPS = chosen_BPC @ wide_BSC.mT
        if config.window == "local":
            return _within_windows(products_BPS, chosen_BP, height, width)[0].exp()
        return products_BPS.softmax(-1)


def _entropies(features_BSC: Tensor, height: int, width: int, *, local: bool) -> Tensor:
    """Return the entropy (B, S) of each position's weights. Only some rows of the matrix exist at once."""
    parts: list[Tensor] = []
    positions_S = torch.arange(height * width, device=features_BSC.device)
    for rows_R in torch.split(positions_S, ROWS):
        products_BRS = features_BSC[:, rows_R] @ features_BSC.mT
        if local:
            log_BRS, beyond_BR1, log_beyond_BR1 = _within_windows(products_BRS, rows_R[None], height, width)
            entropy_BR = -(beyond_BR1 * log_beyond_BR1.exp() * log_beyond_BR1)[..., 0]
        else:
            log_BRS, entropy_BR = products_BRS.log_softmax(-1), 0
        # 0 * log 0 counts as 0.
        parts.append(entropy_BR - (log_BRS.exp() * log_BRS.clamp_min(torch.finfo(log_BRS.dtype).min)).sum(-1))
    return torch.cat(parts, -1)


def _within_windows(products_BPS: Tensor, middle_BP: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithms of the weights in a window of 7 x 7 around each middle (-inf elsewhere), how many of its
    positions are beyond the border (B, P, 1), and the logarithm of the weight of each of those.

    Features beyond the border are 0, and so are their products.
    """
    inside_BPS = _inside(middle_BP, height, width)
    beyond_BP1 = (2 * REACH + 1) ** 2 - inside_BPS.sum(-1, keepdim=True)
    kept_BPS = products_BPS.masked_fill(~inside_BPS, -torch.inf)
    log_sum_BP1 = torch.logaddexp(kept_BPS.logsumexp(-1, keepdim=True), beyond_BP1.to(kept_BPS.dtype).log())
    return kept_BPS - log_sum_BP1, beyond_BP1, -log_sum_BP1


def _inside(middle_BP: Tensor, height: int, width: int) -> Tensor:
    """Return whether each position (B, P, S) is within the window around the middle."""
    position_S = torch.arange(height * width, device=middle_BP.device)
    rows_BPS = position_S // width - (middle_BP // width)[..., None]
    columns_BPS = position_S % width - (middle_BP % width)[..., None]
    return (rows_BPS.abs() <= REACH) & (columns_BPS.abs() <= REACH)


def sample_guided(positions: int, count: int, config: GuidedConfig, rng: torch.Generator) -> Tensor:
    """Sample the ids that `least_real` chooses from: those that are taken anyway, then candidates. None is repeated.

    A position that is taken twice would be its own negative.
    """
    return torch.randperm(positions, generator=rng)[: _random_count(count, config) + config.oversample * count]


def least_real(scores_B1HW: Tensor, sampled: Tensor, size: tuple[int, int], count: int, config: GuidedConfig) -> Tensor:
    """Return ids (B, count) on a map of that size: those that are taken anyway, and the candidates that the
    discriminator scores lowest.

    Its scores are resized bilinearly to the map. As in XiudingCai/EnCo-pytorch @ 0d404a7 (Cai et al., AAAI 2024).
    """
    random_count = _random_count(count, config)
    score_BS = F.interpolate(scores_B1HW.to(float32_or_wider(scores_B1HW.dtype)), size, mode="bilinear").flatten(1)
    candidates = sampled[random_count:]
    lowest_BP = score_BS[:, candidates].topk(count - random_count, largest=False).indices
    return torch.cat([sampled[:random_count].expand(len(score_BS), -1), candidates[lowest_BP]], -1)


def _random_count(count: int, config: GuidedConfig) -> int:
    """Return how many queries are random."""
    return int(config.random_share * count)
