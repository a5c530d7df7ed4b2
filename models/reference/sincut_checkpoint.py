"""The released SinCUT's files of weights: names, and the generator that a file holds.

Their generator has an encoder and a decoder, each a Sequential called convs. A bias stands with the activation behind
its convolution.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from models.configs.limits import MOST_CHANNELS
from models.configs.sincut import LARGEST_START, SMALLEST_START, STYLE_BLOCKS, StyleGeneratorConfig
from models.networks.stylegan2 import StyleDiscriminator, StyleGenerator
from models.networks.weights import load_weights, matrix_in

ENCODER, DISCRIMINATOR = "encoder.convs.", "final_linear."
# Half of the residual blocks are the encoder's.
ENCODER_BLOCKS = STYLE_BLOCKS // 2
UP = {
    "weight": "conv.weight",
    "blur.kernel": "conv.blur.kernel",
    "noise_weight": "noise.weight",
    "bias": "activate.bias",
}


def sincut_names(network: StyleGenerator | StyleDiscriminator) -> dict[str, str]:
    """Return the released code's name of each tensor of the network's state."""
    name = _generator_name if isinstance(network, StyleGenerator) else _discriminator_name
    return {ours: name(ours) for ours in network.state_dict()}


def read_sincut_generator(weights: Mapping[str, Tensor], path: str) -> StyleGenerator:
    """Build the generator of the weights. They give its channels. Raises ValueError if they do not fit."""
    stem = matrix_in(weights, f"{ENCODER}1.0.weight", path)
    down = matrix_in(weights, f"{ENCODER}2.skip.1.weight", path)
    image = matrix_in(weights, f"decoder.convs.{STYLE_BLOCKS - ENCODER_BLOCKS + 1}.0.weight", path)
    config = _config_of(stem.shape[0], down.shape[0], path)
    # Takes no memory until the weights are known to fit, since a file of few bytes may ask for any size.
    with torch.device("meta"):
        generator = StyleGenerator(config, stem.shape[1], image.shape[0])
    load_weights(generator, weights, path, sincut_names(generator))
    return generator


def _config_of(thin: int, deep: int, path: str) -> StyleGeneratorConfig:
    """Return settings with these widths.

    Several start sizes have the same network: 10 channels at 64 and 20 at 128. This takes the nearest to 64, which is
    the released code's.
    """
    sizes = [2**power for power in range(int(math.log2(SMALLEST_START)), int(math.log2(LARGEST_START)) + 1)]
    for start_size in sorted(sizes, key=lambda size: abs(math.log2(size / StyleGeneratorConfig().start_size))):
        channels = round(thin * start_size / 512)
        if 1 <= channels <= MOST_CHANNELS:
            config = StyleGeneratorConfig(channels, start_size)
            if config.widths == (thin, deep):
                return config
    raise ValueError(f"{path}: a generator of {thin} and {deep} channels; no size of crops gives these widths")


def _generator_name(ours: str) -> str:
    stage, inner = re.fullmatch(r"stages\.(\w+)\.(.+)", ours).groups()  # pyright: ignore[reportOptionalMemberAccess]
    last = STYLE_BLOCKS - ENCODER_BLOCKS
    match stage:
        case "stem":
            return f"{ENCODER}1.{_bias_behind(inner)}"
        case "down":
            return f"{ENCODER}2.{_bias_behind(inner)}"
        case "up":
            return f"decoder.convs.{last}.{UP[inner]}"
        case "image":
            return f"decoder.convs.{last + 1}.{_bias_behind(inner)}"
        case _:
            number = int(stage.removeprefix("res"))
            if number <= ENCODER_BLOCKS:
                return f"{ENCODER}{2 + number}.{_bias_behind(inner)}"
            return f"decoder.convs.{number - ENCODER_BLOCKS - 1}.{_bias_behind(inner)}"


def _discriminator_name(ours: str) -> str:
    # Their linear layers include the activation, so the second one is number 1.
    return ours.replace(f"{DISCRIMINATOR}2.", f"{DISCRIMINATOR}1.") if DISCRIMINATOR in ours else _bias_behind(ours)


def _bias_behind(name: str) -> str:
    return re.sub(r"(\d+)\.bias$", lambda found: f"{int(found[1]) + 1}.bias", name)
