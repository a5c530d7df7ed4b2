"""Sources of negatives for PatchNCE.

A source is a function of `Patches`. docs/architecture.md says how to add one. A user's source is a function of the
user's own file.

B batch, P patches, N negatives, D embedding units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.configs.cut import CUTConfig
from models.configs.own_code import OwnCode, OwnCodeError

# The reference code sets a query's similarity to its own key to -10. That key is already the positive.
OWN_KEY = -10.0


@dataclass(frozen=True)
class Patches:
    """What sources of negatives get: the embeddings of one domain at one layer.

    A query's positive is the key of the same image and patch. queued_ND: embeddings of earlier images; None without
    external negatives, and while their queue is too short. elsewhere_ND: with minibatch negatives, the keys of the
    batch's images that other processes have; None with one process. generated_BND: embeddings that a network made for
    each image. other_BND: keys of the other domain's images. Both are None unless they are asked for.
    """

    query_BPD: Tensor
    key_BPD: Tensor
    queued_ND: Tensor | None = None
    elsewhere_ND: Tensor | None = None
    generated_BND: Tensor | None = None
    other_BND: Tensor | None = None


Negatives = Callable[[Patches], Tensor]


def internal(patches: Patches) -> Tensor:
    """Return similarities (B, P, P) to the other patches of the same image."""
    similarity_BPP = patches.query_BPD @ patches.key_BPD.mT
    own = torch.eye(similarity_BPP.shape[-1], dtype=torch.bool, device=similarity_BPP.device)
    return similarity_BPP.masked_fill(own, OWN_KEY)


def minibatch(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to all other patches of all images of the batch, N of them in all processes."""
    query_1ND, key_1ND = patches.query_BPD.flatten(0, 1)[None], patches.key_BPD.flatten(0, 1)[None]
    similarity_1NN = internal(replace(patches, query_BPD=query_1ND, key_BPD=key_1ND))
    similarity_BPN = similarity_1NN.reshape(*patches.query_BPD.shape[:2], -1)
    if patches.elsewhere_ND is None:
        return similarity_BPN
    return torch.cat([similarity_BPN, patches.query_BPD @ patches.elsewhere_ND.mT], -1)


def external(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to the embeddings from the queue: the same N for every query, or none."""
    return _to_others(patches, patches.queued_ND)


def generated(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to the embeddings that a network made for the image."""
    return _to_others(patches, patches.generated_BND)


def other_domain(patches: Patches) -> Tensor:
    """Return similarities (B, P, N) to the patches of a real image of the other domain, embedded by the same encoder.

    A reading of the ablation of Han et al. (CVPR Workshops 2021), whose released code has no such negatives.
    """
    return _to_others(patches, patches.other_BND)


def _to_others(patches: Patches, others: Tensor | None) -> Tensor:
    if others is None:
        return patches.query_BPD.new_empty(*patches.query_BPD.shape[:2], 0)
    return patches.query_BPD @ others.mT


# In the order in which their similarities stand in the softmax.
SOURCES: dict[str, Negatives] = {
    "internal": internal,
    "minibatch": minibatch,
    "external": external,
    "generated": generated,
    "other_domain": other_domain,
}


def similarities(patches: Patches, sources: Sequence[Negatives]) -> Tensor:
    """Return the similarities (B, P, N) of the queries to all negatives, one source after the other."""
    return torch.cat([source(patches) for source in sources] or [_to_others(patches, None)], -1)


def chosen_sources(config: CUTConfig) -> list[Negatives]:
    """Return the model's sources of negatives: first this project's, then those of the user's file."""
    sources = [source for name, source in SOURCES.items() if name in config.negatives]
    own = [name for name in config.negatives if name not in SOURCES]
    assert config.code is not None or not own, "`CUTConfig` has checked the names"
    return [*sources, *(_own_source(config.code, name) for name in own if config.code)]


def _own_source(code: OwnCode, name: str) -> Negatives:
    """Return a source of the user's file that checks the shape of what the user's function returns."""
    function = code.function(name)

    def source(patches: Patches) -> Tensor:
        similarities, expected = function(patches), tuple(patches.query_BPD.shape[:2])
        if not isinstance(similarities, Tensor) or similarities.ndim != 3 or similarities.shape[:2] != expected:
            found = tuple(similarities.shape) if isinstance(similarities, Tensor) else type(similarities).__name__
            raise OwnCodeError(
                f"{code.name}: {name} returned {found}; it must return a tensor of similarities (B, P, N), here "
                f"({expected[0]}, {expected[1]}, N)"
            )
        return similarities

    return source
