"""From settings to a model."""

import torch

from models.configs import CUTConfig, CycleGANConfig, ImageShape, ModelConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective


def build_objective(config: ModelConfig, shape: ImageShape, rng: torch.Generator) -> CUTObjective | CycleGANObjective:
    """The model that the settings describe, with weights drawn from rng, for images of that shape."""
    match config:
        case CUTConfig():
            return CUTObjective(config, shape, rng)
        case CycleGANConfig():
            return CycleGANObjective(config, shape, rng)
