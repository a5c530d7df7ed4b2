"""Generated negatives against independent statements, and their network's part in a step."""

from dataclasses import replace

import pytest
import slow_losses as slow
import torch
from torch import Tensor, nn

from models.build import build_objective
from models.configs.contrast import GeneratedConfig
from models.configs.cut import CUT, CUTConfig
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.contrast.contrast import CUTFakes
from models.contrast.generated import GeneratedNegatives, diversity
from models.cut import CUTObjective
from models.negatives import OWN_KEY, Patches, generated, internal
from models.networks.projector import Projector
from models.objective import Batch, frozen, sample_step

TINY = replace(
    CUT,
    generator=GeneratorConfig(4, 5),
    discriminator=DiscriminatorConfig(4, 2),
    num_patches=8,
    projection_units=8,
    negatives=("generated",),
    generated=GeneratedConfig(num_negatives=6, noise_size=3, momentum=0.9),
)
CHANNELS = {"down1": 4, "res5": 5}


def networks(config: GeneratedConfig = TINY.generated) -> GeneratedNegatives:
    made = GeneratedNegatives(config, CHANNELS, 8).double()
    rng = torch.Generator().manual_seed(0)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.5, generator=rng)
    return made


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    state = network.state_dict()
    return {"w1": state["0.weight"], "b1": state["0.bias"], "w2": state["2.weight"], "b2": state["2.bias"]}


def features() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {layer: torch.randn(2, count, 3, 4, generator=rng, dtype=torch.float64) for layer, count in CHANNELS.items()}


def stepped(config: CUTConfig = TINY, size: int = 2) -> tuple[CUTObjective, Batch, CUTFakes]:
    objective = build_objective(config, ImageShape(16, 16), torch.Generator().manual_seed(0))
    assert isinstance(objective, CUTObjective)
    rng = torch.Generator().manual_seed(3)
    images = Batch(torch.rand(size, 3, 16, 16, generator=rng), torch.rand(size, 3, 16, 16, generator=rng))
    return objective, images, objective.generate(images, sample_step(objective, size, torch.Generator()))


def test_mean_embedding_equals_its_statement_also_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.contrast.generated.POSITIONS", 5)
    made, given = networks(), features()
    for layer, means_BD in made.means(given).items():
        for mean, of_image in zip(means_BD, given[layer], strict=True):
            head = made.projector.heads[layer]
            torch.testing.assert_close(mean, slow.mean_embedding(of_image.flatten(1), weights_of(head)))


def test_negatives_of_each_image_equal_their_statement() -> None:
    made, noise = networks(), networks().sample(2, torch.Generator().manual_seed(2))
    means = made.means(features())
    for layer, negatives_BMD in made(means, noise).items():
        for image in range(2):
            weights = weights_of(made.networks[layer])
            stated = slow.generated_negatives(means[layer][image], noise[layer][image].double(), weights)
            torch.testing.assert_close(negatives_BMD[image], stated)
        torch.testing.assert_close(diversity(negatives_BMD), slow.mean([slow.diversity(n) for n in negatives_BMD]))


@pytest.mark.parametrize("through", [True, False])
def test_the_mean_has_a_gradient_into_the_encoder_only_if_asked_for(through: bool) -> None:
    made = networks(replace(TINY.generated, through_encoder=through))
    made.requires_grad_(False)
    given = {layer: feature.requires_grad_() for layer, feature in features().items()}
    noise = made.sample(2, torch.Generator())
    assert all(n.requires_grad is through for n in made(made.means(given), noise).values())
    if through:
        assert torch.autograd.gradcheck(
            lambda z: made.means({**given, "res5": z})["res5"], given["res5"], fast_mode=True
        )


def test_the_copy_of_the_heads_follows_by_the_stated_share_and_starts_apart() -> None:
    objective, images, _ = stepped()
    assert objective.generated is not None
    old = [weight.clone() for weight in objective.generated.projector.parameters()]
    heads = list(objective.projector.parameters())
    assert not torch.allclose(old[0], heads[0])
    objective.generate(images, sample_step(objective, 2, torch.Generator()))
    for was, now, goal in zip(old, objective.generated.projector.parameters(), heads, strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * goal)


def test_network_is_updated_between_discriminator_and_generator() -> None:
    objective, _, _ = stepped()
    assert objective.phases == ("discriminator", "negatives", "generator")
    assert objective.generated is not None
    trained = {id(weight) for phase in objective.phases for weight in objective.parameters_of(phase)}
    assert {id(weight) for weight in objective.generated.networks.parameters()} <= trained
    assert not {id(weight) for weight in objective.generated.projector.parameters()} & trained


def test_network_maximises_what_the_generator_minimises_and_diversity() -> None:
    objective, images, fakes = stepped()
    of_network, of_generator = (objective.losses(phase, images, fakes) for phase in ("negatives", "generator"))
    for domain in ("a", "b"):
        torch.testing.assert_close(of_network[f"nce_{domain}"], -of_generator[f"nce_{domain}"])
    terms = objective._terms(fakes.contrasts, objective._queries(fakes))
    made = [patches.generated_BND for of_layers in terms.values() for patches in of_layers.values()]
    torch.testing.assert_close(of_network["diversity"], -slow.mean([diversity(n) for n in made if n is not None]))


def test_each_phase_has_gradients_for_its_own_weights_alone() -> None:
    objective, images, fakes = stepped()
    for phase in ("negatives", "generator"):
        objective.zero_grad(set_to_none=True)
        torch.stack(list(objective.losses(phase, images, fakes).values())).sum().backward(retain_graph=True)
        expected = {id(weight) for weight in objective.parameters_of(phase)}
        assert {id(weight) for weight in objective.parameters() if weight.grad is not None} == expected


def test_with_keys_in_place_of_the_generated_negatives_similarities_are_the_internal_ones_beside_the_own_key() -> None:
    _, _, fakes = stepped()
    query_BPD = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    keys = fakes.contrasts["a"].keys["res5"]
    similarity_BPP = generated(Patches(query_BPD, keys, generated_BND=keys))
    masked_BPP = similarity_BPP.masked_fill(torch.eye(8, dtype=torch.bool), OWN_KEY)
    assert torch.equal(masked_BPP, internal(Patches(query_BPD, keys)))


def test_noise_is_another_one_for_each_image_domain_layer_and_step() -> None:
    objective, _, _ = stepped()
    rng = torch.Generator().manual_seed(5)
    drawn = [sample_step(objective, 2, rng).noise for _ in range(2)]
    each = [
        noise for step in drawn for of_layers in step.values() for of_layer in of_layers.values() for noise in of_layer
    ]
    assert len(each) == 2 * 2 * 5 * 2
    assert len({tuple(noise.flatten().tolist()) for noise in each}) == len(each)


def test_frozen_heads_of_the_copy_stay_frozen() -> None:
    objective, _, _ = stepped()
    assert objective.generated is not None and isinstance(objective.generated.projector, Projector)
    with frozen(objective.generated):
        pass
    assert not any(weight.requires_grad for weight in objective.generated.projector.parameters())
