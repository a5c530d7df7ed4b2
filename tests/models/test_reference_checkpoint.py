import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.build import build_objective
from models.configs.cut import CUT
from models.configs.cyclegan import CYCLEGAN
from models.configs.dclgan import DCLGAN
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator
from models.networks.layers import BlurDown, BlurUp, initialise
from models.networks.projector import Projector
from models.reference.checkpoint import (
    layers_of,
    load_reference_weights,
    read_discriminator,
    read_generator,
    read_projector,
    reference_networks,
    reference_tensors,
    reference_weights,
)

GENERATORS = [
    (GeneratorConfig(channels, blocks, antialias), inputs, outputs)
    for channels, blocks, inputs, outputs in ((4, 2, 3, 3), (6, 3, 1, 3), (4, 1, 3, 1))
    for antialias in (True, False)
]
DISCRIMINATORS = [(DiscriminatorConfig(6, layers, antialias), inputs) for layers, antialias, inputs in
                  ((3, True, 3), (3, False, 3), (1, True, 1), (5, False, 1))]  # fmt: skip


def initialised(network: Any) -> Any:
    initialise(network, torch.Generator().manual_seed(0))
    return network


class ReferenceBlock(nn.Module):
    """A residual block as the reference code numbers it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        again = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *again)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Reference(nn.Module):
    """What the reference code keeps a network in: one Sequential called model."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def reference_generator(
    config: GeneratorConfig, inputs: int, outputs: int, *, antialias_up: bool | None = None
) -> Reference:
    """Johnson's generator in the order in which the reference code lists its modules."""
    up = config.antialias if antialias_up is None else antialias_up
    width = config.channels
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
    for factor in (1, 2):
        wide = 2 * factor * width
        stride = 1 if config.antialias else 2
        layers += [nn.Conv2d(factor * width, wide, 3, stride, 1), nn.InstanceNorm2d(wide), nn.ReLU()]
        layers += [BlurDown(wide)] if config.antialias else []
    layers += [ReferenceBlock(4 * width) for _ in range(config.blocks)]
    for factor in (4, 2):
        wide, thin = factor * width, factor * width // 2
        if up:
            layers += [BlurUp(wide), nn.Conv2d(wide, thin, 3, 1, 1)]
        else:
            layers += [nn.ConvTranspose2d(wide, thin, 3, 2, 1, 1)]
        layers += [nn.InstanceNorm2d(thin), nn.ReLU()]
    return Reference([*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()])


def reference_discriminator(config: DiscriminatorConfig, inputs: int) -> Reference:
    stride, widths = 1 if config.antialias else 2, [config.channels * min(2**n, 8) for n in range(config.layers + 1)]
    layers: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 4, stride, 1), nn.LeakyReLU(0.2)]
    layers += [BlurDown(widths[0])] if config.antialias else []
    for thin, wide in pairwise(widths[:-1]):
        layers += [nn.Conv2d(thin, wide, 4, stride, 1), nn.InstanceNorm2d(wide), nn.LeakyReLU(0.2)]
        layers += [BlurDown(wide)] if config.antialias else []
    layers += [nn.Conv2d(widths[-2], widths[-1], 4, 1, 1), nn.InstanceNorm2d(widths[-1]), nn.LeakyReLU(0.2)]
    return Reference([*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1)])


@pytest.mark.parametrize(("config", "inputs", "outputs"), GENERATORS)
def test_generator_of_the_references_layout_is_read_and_written(
    config: GeneratorConfig, inputs: int, outputs: int
) -> None:
    theirs = initialised(reference_generator(config, inputs, outputs))
    ours = read_generator(reference_tensors(theirs.state_dict(), "G.pth"), "G.pth")
    image = torch.rand(1, inputs, 16, 24)
    assert ours.config == config
    torch.testing.assert_close(ours(image)[0], theirs(image), rtol=1e-4, atol=1e-5)
    written = reference_weights(ours)
    assert list(written) == list(theirs.state_dict())
    assert all(torch.equal(written[name], tensor) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize(("config", "inputs"), DISCRIMINATORS)
def test_discriminator_of_the_references_layout_is_read_and_written(config: DiscriminatorConfig, inputs: int) -> None:
    theirs = initialised(reference_discriminator(config, inputs))
    ours = read_discriminator(reference_tensors(theirs.state_dict(), "D.pth"), "D.pth")
    image = torch.rand(1, inputs, 128, 128)
    assert ours.config == config
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)
    written = reference_weights(ours)
    assert list(written) == list(theirs.state_dict())
    assert all(torch.equal(written[name], tensor) for name, tensor in theirs.state_dict().items())


def test_heads_are_read_and_written() -> None:
    ours = initialised(Projector({"pixels": 3, "down2": 16}, 8))
    weights = reference_weights(ours)
    assert list(weights)[:4] == ["mlp_0.0.weight", "mlp_0.0.bias", "mlp_0.2.weight", "mlp_0.2.bias"]
    again = read_projector(weights, ("pixels", "down2"), "F.pth")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())
    with pytest.raises(ValueError, match=r"F.pth: holds 2 heads; expected 1, for pixels"):
        read_projector(weights, ("pixels",), "F.pth")


def test_networks_bear_the_references_names() -> None:
    shape, rng = ImageShape(32, 32, 1, 3), torch.Generator()
    cut = build_objective(CUT, shape, rng)
    assert {name: type(network) for name, network in reference_networks(cut).items()} == {
        "G": Generator,
        "D": Discriminator,
        "F": Projector,
    }
    cyclegan = build_objective(CYCLEGAN, shape, rng)
    found = reference_networks(cyclegan)
    assert list(found) == ["G_A", "G_B", "D_A", "D_B"]
    # A judge called after A judges what comes of A.
    assert reference_weights(found["D_A"])["model.0.weight"].shape[1] == 3
    assert reference_weights(found["D_B"])["model.0.weight"].shape[1] == 1
    dclgan = reference_networks(build_objective(DCLGAN, shape, rng))
    assert list(dclgan) == ["G_A", "G_B", "D_A", "D_B", "F1", "F2"]
    assert reference_weights(dclgan["D_A"])["model.0.weight"].shape[1] == 3
    # --nce_layers 4,8,12,16
    assert [reference_weights(dclgan["F1"])[f"mlp_{head}.0.weight"].shape[1] for head in range(4)] == [128] + 3 * [256]


@pytest.mark.parametrize(
    ("antialias", "numbers", "places"),
    [
        (True, "0,4,8,12,16", ("pixels", "down1", "down2", "res1", "res5")),
        (True, "16,0", ("pixels", "res5")),
        (False, "0,4,7,10,14", ("pixels", "down1", "down2", "res1", "res5")),
        (True, "3", ("stem",)),
    ],
)
def test_numbers_of_layers_are_places(antialias: bool, numbers: str, places: tuple[str, ...]) -> None:
    generator = Generator(GeneratorConfig(2, 5, antialias))
    assert layers_of(numbers, generator) == places
    with pytest.raises(ValueError, match="nce_layers: 5 is no layer of this generator"):
        layers_of("0,5", generator)


def test_statistics_that_old_instance_norms_never_used_are_dropped() -> None:
    generator = initialised(Generator(GeneratorConfig(4, 1)))
    old = {**reference_weights(generator), "model.2.running_mean": torch.zeros(4), "model.2.running_var": torch.ones(4)}
    again = reference_weights(read_generator(reference_tensors(old, "G.pth"), "G.pth"))
    assert all(torch.equal(again[name], tensor) for name, tensor in reference_weights(generator).items())


WEIGHTS = reference_weights(Generator(GeneratorConfig(4, 1)))
DISCRIMINATOR = reference_weights(Discriminator(DiscriminatorConfig(4)))
HEADS = reference_weights(Projector({"pixels": 3}, 4))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1, 2], "does not hold named tensors"),
        ({}, "does not hold named tensors"),
        ({"epoch": 3, "model": {"model.1.weight": 3}}, "does not hold named tensors"),
        ({"netG_A": WEIGHTS, "netG_B": WEIGHTS}, "holds several networks (netG_A, netG_B)"),
        ({"netD": DISCRIMINATOR, "netF": HEADS}, "holds several networks (netD, netF)"),
        ({"netD": DISCRIMINATOR}, "holds a discriminator; expected a generator"),
        ({"layers.0.weight": torch.zeros(1)}, "networks have not (layers.0.weight, …); expected a generator"),
        (DISCRIMINATOR, "holds a discriminator; expected a generator"),
        (HEADS, "holds heads; expected a generator"),
        (
            {name: tensor for name, tensor in WEIGHTS.items() if name != "model.8.bias"},
            "model.8.bias is missing; expected (16,)",
        ),
        ({**WEIGHTS, "model.8.bias": torch.zeros(5)}, "model.8.bias is (5,); expected (16,)"),
        ({**WEIGHTS, "model.2.more": torch.ones(4)}, "model.2.more of (4,) is not expected"),
        ({**WEIGHTS, "model.8.bias": torch.zeros(1).expand(16)}, "model.8.bias repeats its values"),
        # A network of 500 GB, asked for by 17 MB.
        ({**WEIGHTS, "model.1.weight": torch.zeros(30_000, 3, 7, 7)}, "generator.channels is 30000"),
        ({**WEIGHTS, "model.1.weight": torch.zeros(1000, 3, 7, 7)}, "model.1.bias is (4,); expected (1000,)"),
        ({**WEIGHTS, "model.4.bias": torch.full((8,), torch.nan)}, "model.4.bias holds values that are not finite"),
        ({**WEIGHTS, "model.1.weight": torch.tensor(4.0)}, "model.1.weight is missing or no matrix"),
        ({**WEIGHTS, "model.1.weight": torch.zeros(0, 3, 7, 7)}, "model.1.weight is missing or no matrix"),
        (
            {**WEIGHTS, "model.4.bias": torch.zeros(8).to_sparse()},
            "model.4.bias holds torch.float32 (torch.sparse_coo)",
        ),
        ({**WEIGHTS, "model.4.bias": torch.zeros(8, dtype=torch.int64)}, "model.4.bias holds torch.int64"),
        ({**WEIGHTS, "model.4.bias": torch.full((8,), 1e300, dtype=torch.float64)}, "values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_tensors_name(weights: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read_generator(reference_tensors(weights, "G.pth"), "G.pth")
    assert str(caught.value).startswith("G.pth: ")


@pytest.mark.parametrize("antialias", [(True, False), (False, True)])
def test_each_direction_has_its_own_anti_aliasing(antialias: tuple[bool, bool]) -> None:
    config, up = GeneratorConfig(4, 2, antialias[0]), antialias[1]
    theirs = initialised(reference_generator(config, 3, 3, antialias_up=up))
    ours = read_generator(reference_tensors(theirs.state_dict(), "G.pth"), "G.pth")
    image = torch.rand(1, 3, 16, 24)
    assert ours.config == config
    torch.testing.assert_close(ours(image)[0], theirs(image), rtol=1e-4, atol=1e-5)
    assert list(reference_weights(ours)) == list(theirs.state_dict())


def test_a_generator_does_not_share_memory_with_the_weights_it_was_read_from() -> None:
    weights = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    generator = read_generator(weights, "G.pth")
    for tensor in weights.values():
        tensor.zero_()
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in reference_weights(generator).items())


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in WEIGHTS.items()}


@pytest.mark.parametrize(
    "content",
    [
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("model."),
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        {"netG": WEIGHTS},
        {"model": prefixed("module.netG.")},
        {"netG": WEIGHTS, "netD": DISCRIMINATOR, "netF": HEADS},
    ],
)
def test_a_generator_is_found_behind_prefixes_and_one_level_down(content: dict[str, Any]) -> None:
    again = reference_weights(read_generator(reference_tensors(content, "G.pth"), "G.pth"))
    assert all(torch.equal(again[name], tensor) for name, tensor in WEIGHTS.items())


def with_norms(norm: type[nn.Module], **options: Any) -> dict[str, Tensor]:
    """A generator of the reference code whose norms are others."""
    network = reference_generator(GeneratorConfig(4, 1), 3, 3)
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.InstanceNorm2d):
                setattr(parent, name, norm(module.num_features, **options))
    return network.state_dict()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (with_norms(nn.BatchNorm2d), "holds batch norms (--normG batch), such as model.2; expected instance norms"),
        (with_norms(nn.InstanceNorm2d, affine=True), "holds instance norms with weights (affine), such as model.2"),
    ],
)
def test_generators_with_other_norms_are_named_for_what_they_are(weights: dict[str, Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"G.pth: {said}")):
        reference_tensors(weights, "G.pth")


def test_refused_weights_leave_the_network_as_it_was() -> None:
    generator = initialised(Generator(GeneratorConfig(4, 1)))
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    with pytest.raises(ValueError, match=r"more of .* is not expected"):
        load_reference_weights(generator, {**WEIGHTS, "more": torch.zeros(1)}, "G.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())
