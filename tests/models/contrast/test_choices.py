"""Every choice of negatives, weights, queries and relation, in whole steps of CUT."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.build import build_objective
from models.configs.contrast import (
    AttentionConfig,
    ExternalConfig,
    GeneratedConfig,
    GuidedConfig,
    OptimalTransportConfig,
)
from models.configs.cut import CUT, CUTConfig
from models.configs.execution import REFERENCE, Execution
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.own_code import OwnCode
from models.contrast.contrast import CUTFakes
from models.cut import CUTObjective
from models.execution import apply_execution
from models.negatives import SOURCES, Patches
from models.objective import Batch, sample_step
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

SQUARE = ImageShape(16, 16)
TINY = replace(
    CUT,
    generator=GeneratorConfig(4, 5),
    discriminator=DiscriminatorConfig(4, 2),
    num_patches=8,
    projection_units=8,
    external=ExternalConfig(queue_size=32, num_negatives=7, warmup=8),
    generated=GeneratedConfig(num_negatives=6, noise_size=3),
)
CHOICES: dict[str, dict[str, Any]] = {
    "generated": {"negatives": ("generated",)},
    "other domain": {"negatives": ("internal", "other_domain")},
    "hard": {"weighting": "hard"},
    "decoupled": {"decoupled": True},
    "transport": {"weighting": "optimal_transport"},
    "top_k": {"weighting": "top_k", "top_k": 3},
    "attention": {"queries": "attention"},
    "local attention": {"queries": "attention", "attention": AttentionConfig(window="local")},
    "discriminator": {"queries": "discriminator"},
    "relation": {"relation": "semantic"},
    "all that compose": {
        "negatives": ("internal", "external", "generated", "other_domain"),
        "weighting": "hard",
        "decoupled": True,
        "queries": "attention",
        "relation": "semantic",
    },
}
by_choice = pytest.mark.parametrize("choice", CHOICES)


Terms = Mapping[str, Mapping[str, Patches]]


def objective_of(choice: str, shape: ImageShape = SQUARE, **settings: Any) -> CUTObjective:
    return build(replace(TINY, **{**CHOICES[choice], **settings}), shape)


def build(config: CUTConfig, shape: ImageShape = SQUARE) -> CUTObjective:
    objective = build_objective(config, shape, torch.Generator().manual_seed(0))
    assert isinstance(objective, CUTObjective)
    return objective


def batch(size: int = 1, shape: ImageShape = SQUARE) -> Batch:
    rng, extent = torch.Generator().manual_seed(3), (shape.height, shape.width)
    a, b = (torch.rand(size, count, *extent, generator=rng) for count in (shape.channels_a, shape.channels_b))
    return Batch(2 * a - 1, 2 * b - 1)


def trained(
    objective: CUTObjective, images: Batch, execution: Execution = REFERENCE, steps: int = 2, first: int = 0
) -> dict[str, Tensor]:
    """Take steps. Return the losses of the last one."""
    apply_execution(objective, execution)
    optimizers = make_optimizers(objective, 2e-4, (0.5, 0.999))
    losses: dict[str, Tensor] = {}
    for step in range(first, first + steps):
        draws = sample_step(objective, len(images.a), torch.Generator().manual_seed(step))
        losses = train_step(objective, optimizers, images, draws, execution)
    return losses


@by_choice
@pytest.mark.parametrize(
    ("size", "shape"),
    [(2, ImageShape(16, 24, 1, 3)), (1, ImageShape(24, 16, 3, 1))],
    ids=["batch of gray to colour", "colour to gray"],
)
def test_every_choice_trains_every_weight_on_images_of_any_shape(choice: str, size: int, shape: ImageShape) -> None:
    objective = objective_of(choice, shape)
    before = {name: weight.clone() for name, weight in objective.named_parameters() if weight.requires_grad}
    losses = trained(objective, batch(size, shape), steps=1)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    moved = [name for name, weight in objective.named_parameters() if name in before and not weight.equal(before[name])]
    assert moved == list(before)


@pytest.mark.parametrize("negatives", [("internal", "external"), ("minibatch", "external")], ids="-".join)
def test_several_sources_train_to_the_last_digit_as_one_softmax_in_one_line(
    negatives: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, where another order of the sum of gradients rounds otherwise and gives a sweep other digits."""

    def written_plainly(self: CUTObjective, terms: Terms, fakes: CUTFakes) -> dict[str, Tensor]:
        means = {domain: torch.stack([plain_loss(each) for each in of.values()]).mean() for domain, of in terms.items()}
        return {f"nce_{domain}": self.domain_weights[domain] * mean for domain, mean in means.items()}

    def plain_loss(patches: Patches) -> Tensor:
        positive_BP1 = (patches.query_BPD * patches.key_BPD).sum(-1, keepdim=True)
        logits_BPN = torch.cat([positive_BP1, *(SOURCES[name](patches) for name in negatives)], -1)
        targets = torch.zeros(logits_BPN.shape[:2].numel(), dtype=torch.long)
        return F.cross_entropy(logits_BPN.flatten(0, 1) / TINY.temperature, targets)

    found, expected = (build(replace(TINY, negatives=negatives)) for _ in range(2))
    trained(found, batch(2), steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(CUTObjective, "_nce_losses", written_plainly)
        trained(expected, batch(2), steps=4)
    assert all(torch.equal(weight, expected.state_dict()[name]) for name, weight in found.state_dict().items())


@by_choice
def test_losses_of_every_choice_are_pure(choice: str) -> None:
    objective, images = objective_of(choice), batch(2)
    fakes = objective.generate(images, sample_step(objective, 2, torch.Generator()))
    for phase in objective.phases:
        first, second = (objective.losses(phase, images, fakes) for _ in range(2))
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@by_choice
@pytest.mark.parametrize(
    ("execution", "tolerance"),
    [(Execution(channels_last=True, recompute=True), 1e-4), (Execution(precision="bf16"), 0.1)],
    ids=["channels last, recomputed", "bf16"],
)
def test_every_choice_has_the_losses_of_the_reference_in_every_execution(
    choice: str, execution: Execution, tolerance: float
) -> None:
    # Rounding chooses among candidates of almost equal scores, so here all of them are taken.
    taken = {"guided": GuidedConfig(oversample=1, random_share=0)} if choice == "discriminator" else {}
    one, two = (trained(objective_of(choice, **taken), batch(2), way, steps=1) for way in (REFERENCE, execution))
    assert {name: float(loss) for name, loss in two.items()} == pytest.approx(
        {name: float(loss) for name, loss in one.items()}, rel=tolerance, abs=tolerance
    )


@by_choice
def test_an_image_of_a_batch_has_the_loss_that_it_has_alone(choice: str) -> None:
    """Its negatives, weights and queries come from its own pair of images, and from queues."""
    objective, images = objective_of(choice), batch(2)
    draws, _ = objective.sample_randomness(2, torch.Generator(), objective.counts)
    alone: list[dict[str, Tensor]] = []
    for image in range(2):
        noise = {
            domain: {layer: of_layer[image : image + 1] for layer, of_layer in layers.items()}
            for domain, layers in draws.noise.items()
        }
        part = Batch(images.a[image : image + 1], images.b[image : image + 1])
        alone.append(objective.losses("generator", part, objective.forward(part, replace(draws, noise=noise))))
    together = objective.losses("generator", images, objective.forward(images, draws))
    for name, loss in together.items():
        torch.testing.assert_close(loss, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-5)


@by_choice
def test_every_choice_flips_with_fastcut(choice: str) -> None:
    objective = objective_of(choice, identity_weight=0.0, flip_equivariance=True)
    for flipped in (False, True):
        draws = replace(sample_step(objective, 1, torch.Generator()), flipped=flipped)
        losses = objective.losses("generator", batch(), objective.generate(batch(), draws))
        assert all(bool(loss.isfinite()) for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()


@by_choice
def test_a_state_goes_on_as_before_after_it_was_saved(choice: str) -> None:
    whole, saved, resumed = (objective_of(choice) for _ in range(3))
    trained(saved, batch())
    trained(whole, batch())
    resumed.load_state_dict(saved.state_dict())
    one, two = (trained(each, batch(), first=2) for each in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def source_gradient(config: CUTConfig) -> Tensor | None:
    """The gradient of PatchNCE in the source's features, with the outputs held fixed."""
    objective, images = build_objective(config, SQUARE, torch.Generator().manual_seed(0)), batch()
    assert isinstance(objective, CUTObjective)
    forward, kept = objective.generator.forward, dict[str, Tensor]()

    def held(image: Tensor, layers: Any = ()) -> tuple[Tensor, dict[str, Tensor]]:
        output, features = forward(image, layers)
        kept.update({layer: feature.detach().requires_grad_() for layer, feature in features.items()})
        return output.detach(), kept

    objective.generator.forward = held
    fakes = objective.forward(images, sample_step(objective, 1, torch.Generator()))
    loss = objective.losses("generator", images, fakes)["nce_a"]
    return torch.autograd.grad(loss, kept["res5"], allow_unused=True)[0]


@pytest.mark.parametrize(
    ("choice", "reaches"),
    [("generated", True), ("attention", True), ("hard", False), ("transport", False), ("discriminator", False),
     ("other domain", False)],
)  # fmt: skip
def test_only_generated_negatives_and_attention_have_a_gradient_into_the_source(choice: str, reaches: bool) -> None:
    gradient = source_gradient(replace(TINY, **CHOICES[choice]))
    assert (gradient is not None and bool(gradient.any())) is reaches


def test_generated_negatives_have_no_gradient_into_the_source_if_asked_so() -> None:
    without = GeneratedConfig(num_negatives=6, noise_size=3, through_encoder=False)
    assert source_gradient(replace(TINY, negatives=("generated",), generated=without)) is None


def test_gamma_goes_linearly_from_the_first_to_the_last_epoch() -> None:
    objective = objective_of("hard")
    gammas = [objective.sample_randomness(1, torch.Generator(), {}, progress)[0].gamma for progress in (0.0, 0.25, 1.0)]
    assert [float(gamma) for gamma in gammas if gamma is not None] == [50.0, 40.0, 10.0]


REFUSED: dict[str, tuple[Callable[[], CUTConfig], str]] = {
    "transport of two sources": (
        lambda: replace(TINY, weighting="optimal_transport", negatives=("internal", "external")),
        "one source of negatives",
    ),
    "transport of the minibatch": (
        lambda: replace(TINY, weighting="optimal_transport", negatives=("minibatch",)),
        "found minibatch",
    ),
    "hard weights of a user's source": (
        lambda: replace(TINY, weighting="hard", negatives=("mine",), code=OwnCode("mine.py", "def mine(patches): ...")),
        "weighting=hard .*: mine;",
    ),
    "attention of another layer": (
        lambda: replace(TINY, queries="attention", attention=AttentionConfig(("res2",))),
        "attention.layers names res2",
    ),
    "relation without contrast": (lambda: replace(TINY, relation="semantic", nce_weight=0.0), "relation=none"),
    "an odd number of negatives": (lambda: replace(TINY, generated=GeneratedConfig(num_negatives=5)), "must be even"),
    "sharp transport": (
        lambda: replace(TINY, optimal_transport=OptimalTransportConfig(epsilon=0.01)),
        "epsilon is 0.01",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_choices_that_mean_nothing_together_are_refused(make: Callable[[], CUTConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["generated", "hard", "optimal_transport", "top_k", "attention", "guided"])
def test_settings_of_what_is_not_chosen_do_not_count(name: str) -> None:
    other: dict[str, Any] = {
        "generated": GeneratedConfig(noise_size=9),
        "hard": replace(CUT.hard, gamma_end=1.0),
        "optimal_transport": OptimalTransportConfig(epsilon=0.1),
        "top_k": 15,
        "attention": AttentionConfig(window="local"),
        "guided": replace(CUT.guided, oversample=2),
    }
    assert replace(CUT, **{name: other[name]}).used == CUT
    chosen: dict[str, dict[str, Any]] = {
        "generated": {"negatives": ("generated",)},
        "attention": {"queries": "attention"},
        "guided": {"queries": "discriminator"},
    }
    config = replace(CUT, **chosen.get(name, {"weighting": name}))
    assert replace(config, **{name: other[name]}).used != config.used
