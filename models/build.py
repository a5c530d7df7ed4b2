"""From settings to a model."""

import torch

from models.configs import CUTConfig, CycleGANConfig, ModelConfig
from models.cut import CUT
from models.cyclegan import CycleGAN


def build_objective(config: ModelConfig, image_size: tuple[int, int], rng: torch.Generator) -> CUT | CycleGAN:
    """The model that the settings describe, with weights drawn from rng, for images of (height, width)."""
    match config:
        case CUTConfig():
            return CUT(config, image_size, rng)
        case CycleGANConfig():
            return CycleGAN(config, image_size, rng)
