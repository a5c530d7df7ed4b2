"""Settings of DCLGAN: two generators with opposite directions, and PatchNCE with an encoder for each domain."""

from dataclasses import dataclass, field
from typing import Literal

from models.configs.cut import CUTConfig
from models.configs.limits import HIGHEST, require, require_between
from models.configs.networks import DiscriminatorConfig, GeneratorConfig

# Of the sources in `models.negatives`, those that DCLGAN can use.
DCLGAN_SOURCES = ("internal", "minibatch", "other_domain")


@dataclass(frozen=True)
class DCLGANConfig:
    """Dual contrastive learning (Han et al., CVPR Workshops 2021) with CUT's networks.

    The defaults are the released code's. pixel_identity_weight: of the mean distances of G_A(b) to b and G_B(a) to a.
    """

    method: Literal["dclgan"] = "dclgan"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    temperature: float = 0.07
    places: tuple[str, ...] = ("down1", "down2", "res1", "res5")
    num_patches: int = 256
    projection_units: int = 256
    negatives: tuple[str, ...] = ("internal",)
    nce_weight: float = 2.0
    pixel_identity_weight: float = 1.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.negatives if name not in DCLGAN_SOURCES]
        require(
            not unknown and len(self.negatives) > 0,
            f"negatives is {', '.join(self.negatives)[:100] or 'empty'}; DCLGAN has {', '.join(DCLGAN_SOURCES)}",
        )
        require_between("pixel_identity_weight", self.pixel_identity_weight, 0, HIGHEST)
        _ = self.contrast

    @property
    def contrast(self) -> CUTConfig:
        """PatchNCE of each domain, as CUT's settings say it. Raises ValueError where CUT does."""
        return CUTConfig(
            generator=self.generator,
            temperature=self.temperature,
            places=self.places,
            num_patches=self.num_patches,
            projection_units=self.projection_units,
            negatives=self.negatives,
            nce_weight=self.nce_weight,
        )


DCLGAN = DCLGANConfig()
