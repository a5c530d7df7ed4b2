"""From settings to a model."""

import torch

from models.configs import CUTConfig, CycleGANConfig, ModelConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective


def build_objective(
    config: ModelConfig, image_size: tuple[int, int], rng: torch.Generator
) -> CUTObjective | CycleGANObjective:
    """The model that the settings describe, with weights drawn from rng, for images of (height, width)."""
    match config:
        case CUTConfig():
            return CUTObjective(config, image_size, rng)
        case CycleGANConfig():
            return CycleGANObjective(config, image_size, rng)
