"""Build a model from its settings."""

import torch

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective


def build_objective(config: ModelConfig, shape: ImageShape, rng: torch.Generator) -> CUTObjective | CycleGANObjective:
    """Build the model of the settings for images of that shape, with initial weights sampled from rng."""
    match config:
        case CUTConfig():
            return CUTObjective(config, shape, rng)
        case CycleGANConfig():
            return CycleGANObjective(config, shape, rng)
