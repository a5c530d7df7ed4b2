"""Settings of CycleGAN."""

from dataclasses import dataclass, field
from typing import Literal

from models.configs.limits import HIGHEST, MOST_POOLED, require_between
from models.configs.networks import DiscriminatorConfig, GeneratorConfig


@dataclass(frozen=True)
class CycleGANConfig:
    """CycleGAN (Zhu et al., ICCV 2017) with CUT's networks. identity_weight is relative to cycle_weight."""

    method: Literal["cyclegan"] = "cyclegan"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    cycle_weight: float = 10.0
    identity_weight: float = 0.5
    pool_size: int = 50

    def __post_init__(self) -> None:
        require_between("cycle_weight", self.cycle_weight, 0, HIGHEST)
        require_between("identity_weight", self.identity_weight, 0, HIGHEST)
        require_between("pool_size", self.pool_size, 0, MOST_POOLED)


CYCLEGAN = CycleGANConfig()
