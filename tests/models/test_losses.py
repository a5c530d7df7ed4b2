import math

import pytest
import torch
from torch import Tensor

from models.losses import patch_nce
from models.negatives import internal, minibatch
from models.networks.projector import normalise


def embeddings(batch: int = 2, patches: int = 5, units: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(normalise(torch.randn(batch, patches, units, generator=rng)) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_equals_the_papers_equation(temperature: float) -> None:
    query, key = embeddings()
    expected: list[float] = []
    for image in range(2):
        for patch in range(5):
            similar = [float(query[image, patch] @ key[image, other]) / temperature for other in range(5)]
            own = similar.pop(patch)
            filled = [*similar, -10 / temperature]  # the reference keeps the query's own slot, at -10
            expected.append(-math.log(math.exp(own) / (math.exp(own) + sum(map(math.exp, filled)))))
    assert float(patch_nce(query, key, [internal], temperature)) == pytest.approx(sum(expected) / 10, rel=1e-5)


def test_without_negatives_there_is_nothing_to_tell_apart() -> None:
    query, key = embeddings()
    assert float(patch_nce(query, key, [], 0.07)) == 0


def test_more_negatives_never_lower_the_loss() -> None:
    query, key = embeddings()
    assert patch_nce(query, key, [minibatch], 0.07) > patch_nce(query, key, [internal], 0.07)


def test_minibatch_of_one_image_is_internal_by_another_name() -> None:
    query, key = embeddings(batch=1)
    assert torch.equal(minibatch(query, key), internal(query, key))


def test_minibatch_compares_with_all_patches_but_the_own() -> None:
    query, key = embeddings()
    similarities = minibatch(query, key).flatten(0, 1)
    everything = query.flatten(0, 1) @ key.flatten(0, 1).T
    own = torch.eye(10, dtype=torch.bool)
    assert (similarities[own] == -10).all()
    torch.testing.assert_close(similarities[~own], everything[~own])
