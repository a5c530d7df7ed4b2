"""The settings of any model."""

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig

ModelConfig = CUTConfig | CycleGANConfig
