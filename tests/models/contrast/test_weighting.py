"""Each weighting against an independent statement of its equation, its limits, and finite differences."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import slow_losses as slow
import torch
from torch import Tensor

from models.configs.contrast import OptimalTransportConfig
from models.contrast.patch_nce import contrast_loss, patch_nce, similarities_to_own_keys
from models.contrast.relation import semantic_relation
from models.contrast.weighting import Weighting, hard, optimal_transport, top_k, uniform
from models.negatives import Negatives, Patches, external, generated, internal, minibatch, other_domain
from models.networks.projector import normalise

TEMPERATURE = 0.3
GAMMA = torch.tensor(0.7, dtype=torch.float64)
Statement = Callable[[Tensor, Tensor, Tensor], Tensor]


def patches(batch: int = 2, count: int = 5, seed: int = 0) -> Patches:
    """Embeddings of `count` patches and of three other negatives, in float64."""
    rng = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        return normalise(torch.randn(*shape, 4, generator=rng, dtype=torch.float64))

    return Patches(unit(batch, count), unit(batch, count), unit(3), None, unit(batch, 3), unit(batch, 3))


def loss_of(terms: Patches, sources: list[Negatives], weigh: Weighting, *, decoupled: bool = False) -> Tensor:
    (negatives,) = weigh([terms], sources)
    return contrast_loss(similarities_to_own_keys(terms), negatives, TEMPERATURE, decoupled=decoupled)


def transport(**settings: float | str | bool) -> Weighting:
    config = replace(OptimalTransportConfig(epsilon=0.5, iterations=7), **settings)
    return partial(optimal_transport, config=config, temperature=TEMPERATURE)


def transported(q: Tensor, k: Tensor, prefer: slow.Preference = "similar", *, through: bool = True) -> Tensor:
    return slow.transport_nce(q, k, TEMPERATURE, 0.5, prefer, 7, through)


# Ours, and the statement of (q, k, n) for one image, n being the negatives of other images.
INTERNAL: dict[str, tuple[Weighting, bool, Statement]] = {
    "uniform": (uniform, False, lambda q, k, n: slow.nce(q, k, slow.internal_negatives(k), TEMPERATURE)),
    "decoupled": (uniform, True, lambda q, k, n: slow.decoupled_nce(q, k, slow.internal_negatives(k), TEMPERATURE)),
    "hard": (
        partial(hard, gamma=GAMMA),
        False,
        lambda q, k, n: slow.hard_nce(q, k, slow.internal_negatives(k), TEMPERATURE, 0.7, False),
    ),
    "hard and decoupled": (
        partial(hard, gamma=GAMMA),
        True,
        lambda q, k, n: slow.hard_nce(q, k, slow.internal_negatives(k), TEMPERATURE, 0.7, True),
    ),
    "top_k": (
        partial(top_k, count=2),
        False,
        lambda q, k, n: slow.top_k_nce(q, k, slow.internal_negatives(k), TEMPERATURE, 2),
    ),
    "transport": (transport(), False, lambda q, k, n: transported(q, k)),
    "transport, not through queries": (
        transport(through_queries=False),
        False,
        lambda q, k, n: transported(q, k, through=False),
    ),
    "transport to dissimilar": (
        transport(prefer="dissimilar"),
        False,
        lambda q, k, n: transported(q, k, "dissimilar"),
    ),
}


@pytest.mark.parametrize(("weigh", "decoupled", "statement"), INTERNAL.values(), ids=INTERNAL.keys())
def test_a_loss_and_its_gradient_equal_the_statement_of_its_equation(
    weigh: Weighting, decoupled: bool, statement: Statement
) -> None:
    given = patches()
    given.query_BPD.requires_grad_()
    found = loss_of(given, [internal], weigh, decoupled=decoupled)
    (gradient,) = torch.autograd.grad(found, given.query_BPD)
    query = given.query_BPD.detach().clone().requires_grad_()
    stated = slow.mean([statement(query[image], given.key_BPD[image], query[image]) for image in range(2)])
    (expected,) = torch.autograd.grad(stated, query)
    torch.testing.assert_close(found, stated, rtol=0, atol=1e-7)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "weigh", [uniform, partial(hard, gamma=GAMMA), partial(top_k, count=4)], ids=["uniform", "hard", "top_k"]
)
def test_weights_compare_a_query_with_the_negatives_of_all_sources(weigh: Weighting) -> None:
    given = patches()
    assert given.queued_ND is not None and given.generated_BND is not None and given.other_BND is not None
    expected: list[Tensor] = []
    for image in range(2):
        q, k = given.query_BPD[image], given.key_BPD[image]
        others = [*given.queued_ND, *given.generated_BND[image], *given.other_BND[image]]
        negatives = [[*of_query, *others] for of_query in slow.internal_negatives(k)]
        match weigh:
            case partial(keywords={"gamma": _}):
                expected.append(slow.hard_nce(q, k, negatives, TEMPERATURE, float(GAMMA), False))
            case partial(keywords={"count": count}):
                expected.append(slow.top_k_nce(q, k, negatives, TEMPERATURE, count))
            case _:
                expected.append(slow.nce(q, k, negatives, TEMPERATURE))
    found = loss_of(given, [internal, external, generated, other_domain], weigh)
    torch.testing.assert_close(found, slow.mean(expected), rtol=0, atol=1e-10)


def test_negatives_of_the_whole_batch_equal_their_statement() -> None:
    given = patches()
    keys = list(given.key_BPD)
    stated = [
        slow.nce(given.query_BPD[image], keys[image], slow.minibatch_negatives(keys, image), TEMPERATURE)
        for image in range(2)
    ]
    torch.testing.assert_close(patch_nce(given, [minibatch], TEMPERATURE), slow.mean(stated))


def test_transport_to_other_negatives_equals_its_statement() -> None:
    given = patches()
    assert given.queued_ND is not None
    stated = [
        slow.transport_nce_external(
            given.query_BPD[image], given.key_BPD[image], given.queued_ND, TEMPERATURE, 0.5, "similar", 7, True
        )
        for image in range(2)
    ]
    torch.testing.assert_close(loss_of(given, [external], transport()), slow.mean(stated), rtol=0, atol=1e-7)


def equal_transport() -> Weighting:
    """Transport with an infinite epsilon, which settings do not allow."""
    config = OptimalTransportConfig()
    object.__setattr__(config, "epsilon", math.inf)
    return partial(optimal_transport, config=config, temperature=TEMPERATURE)


LIMITS = {
    "hard, gamma infinite": partial(hard, gamma=torch.tensor(math.inf)),
    "top_k of all": partial(top_k, count=4),
    "transport, epsilon infinite": equal_transport(),
}


@pytest.mark.parametrize("weigh", LIMITS.values(), ids=LIMITS.keys())
def test_in_the_limit_of_equal_weights_loss_and_gradient_are_those_of_cut(weigh: Weighting) -> None:
    given = patches()
    given.query_BPD.requires_grad_()
    found, expected = loss_of(given, [internal], weigh), patch_nce(given, [internal], TEMPERATURE)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(loss, given.query_BPD)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_one_step_of_sinkhorn_is_the_one_by_hand() -> None:
    """Three patches in two dimensions. u_i = 1 / sum_j K_ij, then v_j = 1 / sum_i u_i K_ij."""
    angles = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
    directions = torch.stack([angles.cos(), angles.sin()], -1)[None]
    given = Patches(directions, directions)
    ((adjusted,),) = transport(iterations=1)([given], [internal])
    K = [[0 if i == j else math.exp(math.cos(angles[i] - angles[j]) / 0.5) for j in range(3)] for i in range(3)]
    u = [1 / sum(K[i]) for i in range(3)]
    v = [1 / sum(u[i] * K[i][j] for i in range(3)) for j in range(3)]
    for i, j in [(0, 1), (0, 2), (1, 2), (2, 0)]:
        expected = math.cos(angles[i] - angles[j]) + TEMPERATURE * math.log(2 * u[i] * K[i][j] * v[j])
        assert float(adjusted[0, i, j]) == pytest.approx(expected)


# The other's gradient leaves out how the weights change.
@pytest.mark.parametrize("name", [name for name in INTERNAL if name != "transport, not through queries"])
def test_gradients_equal_finite_differences(name: str) -> None:
    weigh, decoupled, _ = INTERNAL[name]
    given = patches(batch=1, count=4)

    def loss(query_BPD: Tensor) -> Tensor:
        return loss_of(replace(given, query_BPD=query_BPD), [internal], weigh, decoupled=decoupled)

    assert torch.autograd.gradcheck(loss, given.query_BPD.clone().requires_grad_())


@pytest.mark.parametrize(("weigh", "decoupled", "statement"), INTERNAL.values(), ids=INTERNAL.keys())
def test_order_of_patches_changes_nothing(weigh: Weighting, decoupled: bool, statement: Statement) -> None:
    given, order = patches(), torch.tensor([3, 0, 4, 1, 2])
    turned = replace(given, query_BPD=given.query_BPD[:, order], key_BPD=given.key_BPD[:, order])
    one, two = (loss_of(each, [internal], weigh, decoupled=decoupled) for each in (given, turned))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("weigh", "decoupled", "statement"), INTERNAL.values(), ids=INTERNAL.keys())
def test_other_images_of_a_batch_do_not_reach_internal_negatives(
    weigh: Weighting, decoupled: bool, statement: Statement
) -> None:
    given = patches()
    whole = loss_of(given, [internal], weigh, decoupled=decoupled)
    alone = [
        loss_of(Patches(query[None], key[None]), [internal], weigh, decoupled=decoupled)
        for query, key in zip(given.query_BPD, given.key_BPD, strict=True)
    ]
    torch.testing.assert_close(whole, slow.mean(alone))


def test_terms_of_one_batch_are_weighed_as_if_alone() -> None:
    terms = [patches(seed=seed) for seed in range(3)]
    together = list(transport()(terms, [internal]))
    for term, weighed in zip(terms, together, strict=True):
        torch.testing.assert_close(weighed, next(transport()([term], [internal])))


@pytest.mark.parametrize(
    "weigh",
    [uniform, partial(hard, gamma=GAMMA), partial(top_k, count=3), transport()],
    ids=["uniform", "hard", "top_k", "transport"],
)
def test_without_negatives_every_weighting_gives_a_loss_of_zero(weigh: Weighting) -> None:
    without = replace(patches(), queued_ND=None)
    assert float(loss_of(without, [external], weigh)) == float(loss_of(without, [external], weigh, decoupled=True)) == 0


def test_relation_and_its_gradient_equal_the_statement() -> None:
    given = patches()
    given.query_BPD.requires_grad_()
    given.key_BPD.requires_grad_()
    found = semantic_relation(given)
    stated = slow.mean([slow.semantic_relation(given.query_BPD[i], given.key_BPD[i]) for i in range(2)])
    torch.testing.assert_close(found, stated)
    gradients = [torch.autograd.grad(loss, given.query_BPD, retain_graph=True)[0] for loss in (found, stated)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.grad(found, given.key_BPD, allow_unused=True) == (None,)


def test_relation_of_equal_patches_is_zero_and_grows_with_their_number() -> None:
    given = patches(count=5)
    equal = replace(given, query_BPD=given.key_BPD)
    assert float(semantic_relation(equal)) == pytest.approx(0, abs=1e-15)
    twice = Patches(given.query_BPD.repeat(1, 2, 1), given.key_BPD.repeat(1, 2, 1))
    assert float(semantic_relation(twice)) == pytest.approx(2 * float(semantic_relation(given)))
