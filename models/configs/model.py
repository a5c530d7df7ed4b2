"""The settings of any model."""

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.sincut import SinCUTConfig

ModelConfig = CUTConfig | CycleGANConfig | SinCUTConfig | DCLGANConfig
