"""How negatives weigh in PatchNCE.

A weighting takes the patches of all layers and domains and yields, for each, similarities (B, P, N) of the queries to
the negatives, in one or several parts, changed so that the softmax has the weights. A weight on a negative's
exponential is added to its similarity, as temperature * log(weight).

T terms (layers of domains), B batch, P patches, N negatives.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from models.configs.contrast import OptimalTransportConfig
from models.configs.cut import CUTConfig
from models.negatives import Negatives, Patches, similarities

# Embeddings have length 1, so their similarity is at least -1. What lies below this is masked: it is no negative.
LOWEST = -1.5

Weighting = Callable[[Sequence[Patches], Sequence[Negatives]], Iterator[Sequence[Tensor]]]


def chosen_weighting(config: CUTConfig, gamma: Tensor | None) -> Weighting:
    """Return the model's weighting. gamma: of this step, for hard weights."""
    match config.weighting:
        case "uniform":
            return uniform
        case "hard":
            assert gamma is not None, "`CUTObjective.sample_randomness` gives it"
            return partial(hard, gamma=gamma)
        case "top_k":
            return partial(top_k, count=config.top_k)
        case "optimal_transport":
            return partial(optimal_transport, config=config.optimal_transport, temperature=config.temperature)


def uniform(terms: Sequence[Patches], sources: Sequence[Negatives]) -> Iterator[Sequence[Tensor]]:
    """Leave all weights 1, as in CUT."""
    for patches in terms:
        yield [source(patches) for source in sources]


def hard(terms: Sequence[Patches], sources: Sequence[Negatives], gamma: Tensor) -> Iterator[Sequence[Tensor]]:
    """Multiply each similarity by a weight that is larger for negatives more similar to the query's own key.

    w = exp(k . n / gamma) / max exp(k . n' / gamma), the maximum over the query's negatives, without gradient. As in
    the released code of Jung et al. (CVPR 2022; jcy132/Hneg_SRC @ 9a9647d).
    """
    for patches in terms:
        similarity_BPN = similarities(patches, sources)
        if not similarity_BPN.shape[-1]:
            yield [similarity_BPN]
            continue
        with torch.no_grad():
            to_key_BPN = similarities(replace(patches, query_BPD=patches.key_BPD), sources)
            weight_BPN = ((to_key_BPN - to_key_BPN.amax(-1, keepdim=True)) / gamma).exp()
        yield [torch.where(similarity_BPN < LOWEST, similarity_BPN, weight_BPN * similarity_BPN)]


def top_k(terms: Sequence[Patches], sources: Sequence[Negatives], count: int) -> Iterator[Sequence[Tensor]]:
    """Keep the most similar negatives of each query, as Lin et al. describe (ACM MM 2022)."""
    for patches in terms:
        similarity_BPN = similarities(patches, sources)
        yield [similarity_BPN.topk(min(count, similarity_BPN.shape[-1])).values]


def optimal_transport(
    terms: Sequence[Patches], sources: Sequence[Negatives], config: OptimalTransportConfig, temperature: float
) -> Iterator[Sequence[Tensor]]:
    """Weigh each negative by how much of it a transport plan gives to the query (Zhan et al., CVPR 2022).

    The weights of a query's negatives have nearly the mean 1. As in fnzhan/MoNCE @ 6672c29 with its Q = 1, except that
    a query's own key is left out of the plan. All terms are one batch, since an iteration is a few small operations.
    """
    similarity_TBPN = torch.stack([similarities(patches, sources) for patches in terms])
    if not similarity_TBPN.shape[-1]:
        yield from ([similarity_BPN] for similarity_BPN in similarity_TBPN)
        return
    masked_TBPN = similarity_TBPN < LOWEST
    given_TBPN = similarity_TBPN if config.through_queries else similarity_TBPN.detach()
    plan_TBPN = transport_plan(given_TBPN, masked_TBPN, config)
    weight_TBPN = (~masked_TBPN).sum(-1, keepdim=True) * plan_TBPN
    yield from (
        [similarity_BPN] for similarity_BPN in similarity_TBPN + temperature * weight_TBPN.clamp_min(1e-8).log()
    )


def transport_plan(similarity_PN: Tensor, masked_PN: Tensor, config: OptimalTransportConfig) -> Tensor:
    """Return the plan (..., P, N) of Sinkhorn's algorithm: columns have equal sums, and rows nearly the sum 1.

    Masked pairs get nothing. In float32 or wider.
    """
    sign = 1 if config.prefer == "similar" else -1
    # The shift changes no plan. It keeps exp within [exp(-2 / epsilon), 1].
    kernel_PN = ((sign * similarity_PN - 1) / config.epsilon).exp().masked_fill(masked_PN, 0)
    rows, columns = kernel_PN.shape[-2:]
    u_P1, v_N1 = kernel_PN.new_ones(*kernel_PN.shape[:-1], 1), kernel_PN.new_ones(*kernel_PN.shape[:-2], columns, 1)
    for _ in range(config.iterations):
        u_P1 = 1 / (kernel_PN @ v_N1)
        v_N1 = rows / columns / (kernel_PN.mT @ u_P1)
    return u_P1 * kernel_PN * v_N1.mT
