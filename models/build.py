"""Build a model, or its generator, from its settings."""

import torch

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import GeneratorConfig
from models.configs.sincut import SinCUTConfig, StyleGeneratorConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.dclgan import DCLGANObjective
from models.networks.any_generator import AnyGenerator
from models.networks.generator import Generator
from models.networks.stylegan2 import StyleGenerator
from models.sincut import SinCUTObjective

AnyObjective = CUTObjective | CycleGANObjective | SinCUTObjective | DCLGANObjective


def build_objective(config: ModelConfig, shape: ImageShape, rng: torch.Generator) -> AnyObjective:
    """Build the model of the settings for images of that shape, with initial weights sampled from rng."""
    match config:
        case CUTConfig():
            return CUTObjective(config, shape, rng)
        case CycleGANConfig():
            return CycleGANObjective(config, shape, rng)
        case SinCUTConfig():
            return SinCUTObjective(config, shape, rng)
        case DCLGANConfig():
            return DCLGANObjective(config, shape, rng)


def build_generator(
    config: GeneratorConfig | StyleGeneratorConfig, in_channels: int = 3, out_channels: int = 3
) -> AnyGenerator:
    """Build the generator of the settings, with weights of no meaning."""
    match config:
        case GeneratorConfig():
            return Generator(config, in_channels, out_channels)
        case StyleGeneratorConfig():
            return StyleGenerator(config, in_channels, out_channels)
