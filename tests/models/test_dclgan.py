import copy
from dataclasses import replace
from typing import Any

import pytest
import slow_losses as slow
import torch
from torch import Tensor, nn

from models.build import build_objective
from models.configs.dclgan import DCLGAN, DCLGANConfig
from models.configs.execution import REFERENCE, Execution
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.dclgan import DCLGANObjective, DCLGANRandomness
from models.execution import apply_execution
from models.images import with_channels
from models.networks.generator import Generator
from models.networks.projector import Projector
from models.objective import ALONE, Batch, Ranks, sample_step
from pipeline.training.loop import train_step
from pipeline.training.state import TrainState, make_optimizers

TINY = replace(
    DCLGAN,
    generator=GeneratorConfig(2, 5),
    discriminator=DiscriminatorConfig(2, 2),
    num_patches=4,
    projection_units=4,
)
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def built(config: DCLGANConfig = TINY, channels: tuple[int, int] = (3, 3), seed: int = 0) -> DCLGANObjective:
    """A model in float64, with weights so large that every loss has a slope."""
    rng = torch.Generator().manual_seed(seed)
    objective = build_objective(config, ImageShape(16, 16, *channels), rng).double()
    assert isinstance(objective, DCLGANObjective)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return objective


def images(count: int = 2, channels: tuple[int, int] = (3, 3)) -> Batch:
    rng = torch.Generator().manual_seed(1)
    a, b = (2 * torch.rand(count, each, 16, 16, generator=rng, dtype=torch.float64) - 1 for each in channels)
    return Batch(a, b)


def drawn(objective: DCLGANObjective, count: int = 2, seed: int = 0) -> DCLGANRandomness:
    return sample_step(objective, count, torch.Generator().manual_seed(seed))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def embedded(generator: Generator, heads: Projector, image: Tensor, ids: Any) -> dict[str, Tensor]:
    """The embeddings (P, D) of one image's patches at each layer, head by head and patch by patch."""
    found: dict[str, Tensor] = {}
    for layer, features in generator.encode(image[None], list(heads.heads)).items():
        head = heads.heads[layer]
        assert isinstance(head, nn.Sequential)
        names = {"w1": head[0].weight, "b1": head[0].bias, "w2": head[2].weight, "b2": head[2].bias}
        columns = features[0].flatten(1)
        found[layer] = torch.stack([torch.stack(slow.two_layers(list(columns[:, i]), names)) for i in ids[layer]])
    return found


def stated_nce(
    objective: DCLGANObjective, sources: Tensor, targets: Tensor, others: Tensor, ids: Any, other_ids: Any, back: bool
) -> Tensor:
    """The mean over layers and images of NCE between sources and targets. others: real images of the targets' domain.

    back: whether the sources are of B.
    """
    stacks = [(objective.a_to_b, objective.heads_a), (objective.b_to_a, objective.heads_b)]
    source_stack, target_stack = reversed(stacks) if back else stacks
    config, terms = objective.config, list[Tensor]()
    keys = [embedded(*source_stack, image, ids) for image in sources]
    for number, target in enumerate(targets):
        queries = embedded(*target_stack, target, ids)
        other = embedded(*target_stack, others[number], other_ids)
        for layer, q in queries.items():
            k = keys[number][layer]
            found: slow.Negatives = [[] for _ in q]
            if "internal" in config.negatives:
                found = slow.internal_negatives(k)
            if "minibatch" in config.negatives:
                found = slow.minibatch_negatives([of_image[layer] for of_image in keys], number)
            if "other_domain" in config.negatives:
                found = [[*negatives, *other[layer].detach()] for negatives in found]
            terms.append(slow.nce(q, k, found, config.temperature))
    return slow.mean(terms)


def stated(objective: DCLGANObjective, batch: Batch, draws: DCLGANRandomness, fakes: tuple[Tensor, Tensor]) -> Tensor:
    """0.5 (GAN_A + GAN_B) + 0.5 w (NCE_A + NCE_B) + 0.5 v (|G_A(b) - b| + |G_B(a) - a|)."""
    fake_b, fake_a = fakes
    ids_a, ids_b = draws.patch_ids["a"], draws.patch_ids["b"]
    gan = torch.zeros((), dtype=torch.float64)
    for judge, fake in ((objective.judge_b, fake_b), (objective.judge_a, fake_a)):
        scores = judge(fake)
        gan = gan + torch.where(scores < 1, 1 - scores, 0).mean()
    nce = stated_nce(objective, batch.a, fake_b, batch.b, ids_a, ids_b, back=False)
    nce = nce + stated_nce(objective, batch.b, fake_a, batch.a, ids_b, ids_a, back=True)
    distance = (objective.a_to_b(batch.b)[0] - batch.b).abs().mean() + (
        objective.b_to_a(batch.a)[0] - batch.a
    ).abs().mean()
    config = objective.config
    return 0.5 * gan + 0.5 * config.nce_weight * nce + 0.5 * config.pixel_identity_weight * distance


@pytest.mark.parametrize(
    ("negatives", "count"),
    [(("internal",), 1), (("other_domain",), 1), (("internal", "other_domain"), 2), (("minibatch",), 2)],
)
def test_total_and_gradients_of_the_generators_are_those_of_the_statement(
    negatives: tuple[str, ...], count: int
) -> None:
    objective = built(replace(TINY, negatives=negatives, nce_weight=1.5, pixel_identity_weight=0.7))
    batch, draws, weights = images(count), drawn(objective, count), objective.parameters_of("generator")
    fakes = objective.generate(batch, draws)
    found = total(objective.losses("generator", batch, fakes))
    translations = objective.a_to_b(batch.a)[0], objective.b_to_a(batch.b)[0]
    expected = stated(objective, batch, draws, translations)
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = zip(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


def test_the_discriminators_minimise_the_hinge_losses_of_real_and_generated_images() -> None:
    objective, batch = built(), images()
    fakes = objective.generate(batch, drawn(objective))
    found = objective.losses("discriminator", batch, fakes)
    for domain, judge, real, fake in (
        ("b", objective.judge_b, batch.b, fakes.b),
        ("a", objective.judge_a, batch.a, fakes.a),
    ):
        real_losses = [max(0.0, 1 - score) for score in judge(real).flatten().tolist()]
        fake_losses = [max(0.0, 1 + score) for score in judge(fake).flatten().tolist()]
        assert found[f"real_{domain}"].item() == pytest.approx(0.5 * sum(real_losses) / len(real_losses), rel=1e-9)
        assert found[f"fake_{domain}"].item() == pytest.approx(0.5 * sum(fake_losses) / len(fake_losses), rel=1e-9)


def test_each_phase_gives_gradients_to_its_own_weights_alone() -> None:
    objective, batch = built(), images()
    fakes = objective.generate(batch, drawn(objective))
    others = {"discriminator": "generator", "generator": "discriminator"}
    for phase in objective.phases:
        objective.zero_grad()
        total(objective.losses(phase, batch, fakes)).backward()
        assert all(weight.grad is not None for weight in objective.parameters_of(phase))
        assert all(weight.grad is None for weight in objective.parameters_of(others[phase]))


def reached(loss: Tensor, network: nn.Module) -> set[str]:
    """The parts of a network whose weights have a gradient."""
    names, weights = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    found = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    return {name.split(".")[1] for name in found}


def test_queries_have_the_encoder_and_heads_of_their_own_domain_and_keys_have_no_gradient() -> None:
    objective, batch = built(replace(TINY, negatives=("internal", "other_domain"))), images()
    fakes = objective.generate(batch, drawn(objective))
    encoder = {"stem", "down1", "down2", "res1", "res2", "res3", "res4", "res5"}
    everything = {*encoder, "up1", "up2", "image"}
    alone = {domain: replace(contrast, output=contrast.output.detach()) for domain, contrast in fakes.contrasts.items()}
    for name, translating, embedding, heads, unused in (
        ("nce_a", objective.a_to_b, objective.b_to_a, objective.heads_b, objective.heads_a),
        ("nce_b", objective.b_to_a, objective.a_to_b, objective.heads_a, objective.heads_b),
    ):
        loss = objective.losses("generator", batch, fakes)[name]
        assert reached(loss, translating) == everything
        assert reached(loss, embedding) == encoder
        assert reached(loss, heads) == set(TINY.places) and not reached(loss, unused)
        # The generator learns through its translation alone, not through the keys.
        through_queries = objective.losses("generator", batch, replace(fakes, contrasts=alone))[name]
        assert not reached(through_queries, translating)


def test_negatives_of_the_other_domain_are_real_patches_with_the_queries_encoder() -> None:
    objective, batch = built(replace(TINY, negatives=("other_domain",)), (3, 1)), images(2, (3, 1))
    draws = drawn(objective)
    contrasts = objective.generate(batch, draws).contrasts
    for domain, other, generator, heads, real in (
        ("a", "b", objective.b_to_a, objective.heads_b, batch.b),
        ("b", "a", objective.a_to_b, objective.heads_a, batch.a),
    ):
        expected = heads(generator.encode(real, TINY.places), draws.patch_ids[other])
        for layer, given in contrasts[domain].extra.items():
            torch.testing.assert_close(given["other_BND"], expected[layer])
            assert not given["other_BND"].requires_grad


def test_no_network_sees_an_image_more_often_than_its_losses_need() -> None:
    objective, batch, seen = built(replace(TINY, negatives=("internal", "other_domain"))), images(1), dict[str, int]()

    def count(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
            seen[name] = seen.get(name, 0) + len(given[0])

        return hook

    for name, generator in (("a_to_b", objective.a_to_b), ("b_to_a", objective.b_to_a)):
        generator.stages["pixels"].register_forward_hook(count(f"{name} encodes"))
        generator.stages["image"][-1].register_forward_hook(count(f"{name} translates"))
    for name, judge in (("judge_a", objective.judge_a), ("judge_b", objective.judge_b)):
        judge.layers[0].register_forward_hook(count(name))
    train_step(objective, make_optimizers(objective, 2e-4, (0.5, 0.999)), batch, drawn(objective, 1))
    # The source, the target and the other generator's output; real and fake for D, and the fake once more for G.
    assert seen == {
        **{f"{name} encodes": 3 for name in ("a_to_b", "b_to_a")},
        **{f"{name} translates": 2 for name in ("a_to_b", "b_to_a")},
        **dict.fromkeys(("judge_a", "judge_b"), 3),
    }


def test_the_generators_are_judged_by_discriminators_that_are_updated_already() -> None:
    objective, batch = built(), images()
    before = copy.deepcopy(objective)
    losses = train_step(objective, make_optimizers(objective, 0.01, (0.5, 0.999)), batch, drawn(objective))
    with torch.no_grad():
        fake = before.a_to_b(batch.a)[0]
        early, late = (0.5 * (1 - judge(fake)).relu().mean() for judge in (before.judge_b, objective.judge_b))
    torch.testing.assert_close(losses["generator/adversarial_b"], late, **CLOSE)
    assert not torch.isclose(early, late)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, {"nce_a", "nce_b", "identity_a", "identity_b"}),
        ({"pixel_identity_weight": 0.0}, {"nce_a", "nce_b"}),
        ({"nce_weight": 0.0}, {"identity_a", "identity_b"}),
        ({"nce_weight": 0.0, "pixel_identity_weight": 0.0}, set[str]()),
    ],
)
def test_a_weight_of_0_leaves_its_losses_out_and_changes_no_other(change: dict[str, float], names: set[str]) -> None:
    def losses(config: DCLGANConfig) -> dict[str, Tensor]:
        objective, batch = built(config), images()
        return objective.losses("generator", batch, objective.generate(batch, drawn(objective)))

    found, whole = losses(replace(TINY, **change)), losses(TINY)
    assert set(found) == {"adversarial_a", "adversarial_b", *names}
    for name, loss in found.items():
        torch.testing.assert_close(loss, whole[name])


def test_identity_of_other_channels_is_that_of_the_converted_image() -> None:
    objective, batch = built(channels=(1, 3)), images(2, (1, 3))
    found = objective.losses("generator", batch, objective.generate(batch, drawn(objective)))
    same = objective.a_to_b(with_channels(batch.b, 1))[0]
    torch.testing.assert_close(found["identity_b"], 0.5 * (same - batch.b).abs().mean())


def stepped(execution: Execution, dtype: torch.dtype) -> tuple[DCLGANObjective, dict[str, float]]:
    """A model after two steps, and its losses in the second."""
    objective = built().to(dtype)
    apply_execution(objective, execution)
    optimizers, given = make_optimizers(objective, 2e-4, (0.5, 0.999)), images()
    batch, losses = Batch(given.a.to(dtype), given.b.to(dtype)), dict[str, Tensor]()
    for step in range(2):
        losses = train_step(objective, optimizers, batch, drawn(objective, seed=step), execution)
    return objective, {name: float(loss) for name, loss in losses.items()}


def test_an_exact_switch_changes_neither_losses_nor_weights() -> None:
    expected, losses = stepped(REFERENCE, torch.float64)
    for execution in (Execution(channels_last=True), Execution(recompute=True)):
        found, found_losses = stepped(execution, torch.float64)
        assert found_losses == pytest.approx(losses, rel=1e-9)
        for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9, check_stride=False)


def test_bf16_loses_as_much_as_float32_within_its_rounding() -> None:
    _, losses = stepped(REFERENCE, torch.float32)
    _, found = stepped(Execution("bf16", channels_last=True), torch.float32)
    assert found == pytest.approx(losses, rel=0.1, abs=0.02)
    assert found != losses


def test_two_processes_have_the_losses_of_one() -> None:
    objective = built(replace(TINY, negatives=("minibatch", "other_domain")))
    whole, draws = images(4), drawn(objective, 4)
    parts = [Batch(a, b) for a, b in zip(whole.a.chunk(2), whole.b.chunk(2), strict=True)]
    sent: list[list[Tensor]] = [[], []]
    for rank, part in enumerate(parts):

        def note(tensor: Tensor, rank: int = rank) -> Tensor:
            sent[rank].append(tensor)
            return torch.cat([tensor, tensor])

        objective.generate(part, draws, Ranks(rank, 2, note))
    gathered = [torch.cat(pair) for pair in zip(*sent, strict=True)]

    def losses(given: Batch, ranks: Ranks) -> dict[str, Tensor]:
        fakes = objective.generate(given, draws, ranks)
        phases = [objective.losses(phase, given, fakes) for phase in objective.phases]
        return {name: loss for of_phase in phases for name, loss in of_phase.items()}

    expected = losses(whole, ALONE)
    both: list[dict[str, Tensor]] = []
    for rank, part in enumerate(parts):
        left = iter(gathered)
        both.append(losses(part, Ranks(rank, 2, lambda _, left=left: next(left))))
    for name, value in expected.items():
        torch.testing.assert_close((both[0][name] + both[1][name]) / 2, value, **CLOSE)


def test_a_resumed_step_equals_the_uninterrupted_one() -> None:
    def state(seed: int) -> TrainState:
        objective = built(seed=seed)
        return TrainState(objective, make_optimizers(objective, 2e-4, (0.5, 0.999)))

    def step(trained: TrainState, seed: int) -> dict[str, Tensor]:
        draws = sample_step(trained.objective, 2, torch.Generator().manual_seed(seed))
        return train_step(trained.objective, trained.optimizers, images(), draws)

    first, resumed = state(0), state(1)
    step(first, 0)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    expected, found = step(first, 1), step(resumed, 1)
    assert all(torch.equal(found[name], loss) for name, loss in expected.items())
    after, before = resumed.objective.state_dict(), first.objective.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
