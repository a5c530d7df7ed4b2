import math
from dataclasses import replace

import pytest
import torch

from models.contrast.patch_nce import patch_nce
from models.negatives import Patches, external, internal, minibatch
from models.networks.projector import normalise


def embeddings(batch: int = 2) -> Patches:
    rng = torch.Generator().manual_seed(0)
    return Patches(*(normalise(torch.randn(batch, 5, 4, generator=rng)) for _ in range(2)))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_equals_the_papers_equation(temperature: float) -> None:
    patches = embeddings()
    expected: list[float] = []
    for query, key in zip(patches.query_BPD, patches.key_BPD, strict=True):
        for patch in range(5):
            similar = [float(query[patch] @ key[other]) / temperature for other in range(5)]
            own = similar.pop(patch)
            filled = [*similar, -10 / temperature]  # the reference keeps the query's own slot, at -10
            expected.append(-math.log(math.exp(own) / (math.exp(own) + sum(map(math.exp, filled)))))
    assert float(patch_nce(patches, [internal], temperature)) == pytest.approx(sum(expected) / 10, rel=1e-5)


def test_without_negatives_the_loss_is_zero() -> None:
    assert float(patch_nce(embeddings(), [], 0.07)) == 0
    assert float(patch_nce(embeddings(), [external], 0.07)) == 0


def test_more_negatives_never_lower_the_loss() -> None:
    patches = embeddings()
    assert patch_nce(patches, [minibatch], 0.07) > patch_nce(patches, [internal], 0.07)
    queued = replace(patches, queued_ND=normalise(torch.randn(3, 4, generator=torch.Generator().manual_seed(1))))
    assert patch_nce(queued, [internal, external], 0.07) > patch_nce(patches, [internal, external], 0.07)


def test_minibatch_of_one_image_equals_internal() -> None:
    patches = embeddings(batch=1)
    assert torch.equal(minibatch(patches), internal(patches))


def test_minibatch_compares_with_all_other_patches() -> None:
    patches = embeddings()
    similarities = minibatch(patches).flatten(0, 1)
    everything = patches.query_BPD.flatten(0, 1) @ patches.key_BPD.flatten(0, 1).T
    own = torch.eye(10, dtype=torch.bool)
    assert (similarities[own] == -10).all()
    torch.testing.assert_close(similarities[~own], everything[~own])


def test_external_compares_every_query_with_the_same_embeddings() -> None:
    patches = replace(embeddings(), queued_ND=torch.eye(4))
    assert torch.equal(external(patches), patches.query_BPD)
