"""SinCUT's files of weights. test_sincut_statement.py computes with weights under these names."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from models.configs.sincut import StyleDiscriminatorConfig, StyleGeneratorConfig
from models.networks.stylegan2 import StyleDiscriminator, StyleGenerator
from models.networks.stylegan2_layers import initialise_scaled
from models.reference.checkpoint import read_generator, reference_tensors, reference_weights

# As the released networks list them, with the kernels of the blurs.
GENERATOR = {
    "encoder.convs.1.0.weight": (8, 3, 1, 1),
    "encoder.convs.1.1.bias": (1, 8, 1, 1),
    "encoder.convs.2.conv1.0.weight": (8, 8, 3, 3),
    "encoder.convs.2.conv1.1.bias": (1, 8, 1, 1),
    "encoder.convs.2.conv2.0.kernel": (4, 4),
    "encoder.convs.2.conv2.1.weight": (16, 8, 3, 3),
    "encoder.convs.2.conv2.2.bias": (1, 16, 1, 1),
    "encoder.convs.2.skip.0.kernel": (4, 4),
    "encoder.convs.2.skip.1.weight": (16, 8, 1, 1),
    **{
        f"{place}.{name}": shape
        for place in (*(f"encoder.convs.{number}" for number in (3, 4, 5)), *(f"decoder.convs.{n}" for n in range(3)))
        for conv in ("conv1", "conv2")
        for name, shape in ((f"{conv}.0.weight", (16, 16, 3, 3)), (f"{conv}.1.bias", (1, 16, 1, 1)))
    },
    "decoder.convs.3.conv.weight": (1, 8, 16, 3, 3),
    "decoder.convs.3.conv.blur.kernel": (4, 4),
    "decoder.convs.3.noise.weight": (1,),
    "decoder.convs.3.activate.bias": (1, 8, 1, 1),
    "decoder.convs.4.0.weight": (3, 8, 1, 1),
    "decoder.convs.4.1.bias": (1, 3, 1, 1),
}
LAST_LAYERS = {
    "final_conv.0.weight": (64, 64, 3, 3),
    "final_conv.1.bias": (1, 64, 1, 1),
    "final_linear.0.weight": (64, 1024),
    "final_linear.0.bias": (64,),
    "final_linear.1.weight": (1, 64),
    "final_linear.1.bias": (1,),
}


def generator(config: StyleGeneratorConfig) -> StyleGenerator:
    network = StyleGenerator(config)
    initialise_scaled(network, torch.Generator().manual_seed(0))
    return network


WEIGHTS = reference_weights(generator(StyleGeneratorConfig(1)))
JUDGE = reference_weights(StyleDiscriminator(StyleDiscriminatorConfig(1)))


def test_networks_have_the_released_names_and_shapes() -> None:
    assert {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()} == GENERATOR
    found = {name: tuple(tensor.shape) for name, tensor in JUDGE.items()}
    assert {name: shape for name, shape in found.items() if name.startswith("final")} == LAST_LAYERS
    assert {name.split(".")[1] for name in found if name.startswith("convs")} == {"0", "1", "2", "3", "4"}
    assert found["convs.4.conv2.1.weight"] == (64, 32, 3, 3) and found["convs.0.1.bias"] == (1, 4, 1, 1)


@pytest.mark.parametrize(("channels", "start_size"), [(1, 64), (3, 256), (1, 16), (2, 32)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_gives_the_generator_that_wrote_it(channels: int, start_size: int, prefix: str) -> None:
    config, image = StyleGeneratorConfig(channels, start_size), torch.rand(1, 3, 8, 12)
    network = generator(config)
    content = {prefix + name: tensor for name, tensor in reference_weights(network).items()}
    again = read_generator(reference_tensors(content, "G.pth"), "G.pth")
    assert again.config.widths == config.widths  # type: ignore[union-attr]
    assert torch.equal(again.translate(image), network.translate(image))


def test_of_sizes_with_the_same_network_a_file_means_that_of_the_released_code() -> None:
    weights = reference_weights(generator(StyleGeneratorConfig(2, 128)))
    assert read_generator(weights, "G.pth").config == StyleGeneratorConfig(1, 64)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"netD": JUDGE},
            "holds a discriminator; expected",
        ),
        ({**WEIGHTS, "residual_gain": torch.ones(2)}, "residual_gain of (2,) is not expected"),
        (
            {name: tensor for name, tensor in WEIGHTS.items() if name != "decoder.convs.3.noise.weight"},
            "decoder.convs.3.noise.weight is missing; expected (1,)",
        ),
        (
            {name: tensor for name, tensor in WEIGHTS.items() if name != "encoder.convs.1.0.weight"},
            "encoder.convs.1.0.weight is missing or no matrix",
        ),
        ({**WEIGHTS, "encoder.convs.1.0.weight": torch.zeros(7, 3, 1, 1)}, "a generator of 7 and 16 channels; no size"),
        # A network of many GB, asked for by few bytes.
        (
            {
                **WEIGHTS,
                "encoder.convs.1.0.weight": torch.zeros(8192, 3, 1, 1),
                "encoder.convs.2.skip.1.weight": torch.zeros(512, 1, 1, 1),
            },
            "encoder.convs.1.1.bias is (1, 8, 1, 1); expected (1, 8192, 1, 1)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read_generator(reference_tensors(content, "G.pth"), "G.pth")
    assert str(caught.value).startswith("G.pth: ") and "\n" not in str(caught.value)


def test_a_generator_does_not_share_memory_with_the_weights_it_was_read_from() -> None:
    weights: dict[str, Tensor] = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    network = read_generator(weights, "G.pth")
    for tensor in weights.values():
        tensor.zero_()
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in reference_weights(network).items())
