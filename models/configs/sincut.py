"""Settings of SinCUT: CUT for one image of each domain, with networks like StyleGAN2's."""

from dataclasses import dataclass, field
from typing import Literal

from models.configs.cut import CUTConfig, domain_weights
from models.configs.limits import HIGHEST, MOST_CHANNELS, MOST_PATCHES, MOST_UNITS, require, require_between
from models.configs.networks import check_places

# Residual blocks of the generator, without the one that halves the size.
STYLE_BLOCKS = 6
# The widths of the released code's networks at 32 x 32 and below.
WIDEST_GENERATOR, WIDEST_DISCRIMINATOR = 512, 384
SMALLEST_START, LARGEST_START = 8, 1024


def _too_thin(network: str, channels: int, start_size: int, least: int) -> str:
    return (
        f"{network}.channels is {channels}, which leaves no channel at {start_size} x {start_size}; "
        f"set {network}.channels to {least} or more"
    )


@dataclass(frozen=True)
class StyleGeneratorConfig:
    """The generator. The defaults are those of the released code's SinCUT.

    start_size: rows and columns of the training crops, a power of two. It decides on the widths of both networks, so
    weights of one size do not fit another.
    """

    channels: int = 10
    start_size: int = 64

    def __post_init__(self) -> None:
        require_between("generator.channels", self.channels, 1, MOST_CHANNELS)
        require_between("generator.start_size", self.start_size, SMALLEST_START, LARGEST_START)
        require(
            self.start_size & (self.start_size - 1) == 0,
            f"generator.start_size is {self.start_size}; it must be a power of two, such as 64",
        )
        require(self.widths[0] > 0, _too_thin("generator", self.channels, self.start_size, self.start_size // 512))

    @property
    def widths(self) -> tuple[int, int]:
        """The channels at full and at half size."""

        def width(size: int) -> int:
            full = round(16384 / size * self.channels / 32)
            return full if size > 32 else min(WIDEST_GENERATOR, full)

        return width(self.start_size), width(self.start_size // 2)

    def layer_channels(self, image_channels: int = 3) -> dict[str, int]:
        """Return the channels of each encoder layer that PatchNCE can use, in running order."""
        thin, deep = self.widths
        blocks = {f"res{number}": deep for number in range(1, STYLE_BLOCKS + 1)}
        return {"pixels": image_channels, "stem": thin, "down": deep, **blocks}


@dataclass(frozen=True)
class StyleDiscriminatorConfig:
    """The discriminator. It scores whole crops of the generator's start_size."""

    channels: int = 8

    def __post_init__(self) -> None:
        require_between("discriminator.channels", self.channels, 1, MOST_CHANNELS)

    def widths(self, start_size: int) -> list[int]:
        """Return the channels at each size, from the crop's to 4 x 4."""
        sizes = [start_size >> halvings for halvings in range(start_size.bit_length() - 2)]
        full = [int(16384 / size * self.channels / 64) for size in sizes]
        return [
            width if size > 32 else min(WIDEST_DISCRIMINATOR, width) for size, width in zip(sizes, full, strict=True)
        ]


@dataclass(frozen=True)
class SinCUTConfig:
    """CUT for one image of each domain (Park et al., ECCV 2020). The defaults are the released code's.

    Each batch holds crops of both images. A patch's negatives are those of all crops of the batch.
    pixel_identity_weight: of the mean distance of G(b) to b. r1_weight: of the discriminator's gradient at b.
    """

    method: Literal["sincut"] = "sincut"
    generator: StyleGeneratorConfig = field(default_factory=StyleGeneratorConfig)
    discriminator: StyleDiscriminatorConfig = field(default_factory=StyleDiscriminatorConfig)
    temperature: float = 0.07
    places: tuple[str, ...] = ("pixels", "down", "res2")
    num_patches: int = 1
    projection_units: int = 256
    nce_weight: float = 4.0
    identity_weight: float = 1.0
    pixel_identity_weight: float = 1.0
    r1_weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature is {self.temperature}; it must be above 0")
        require_between("temperature", self.temperature, 0, HIGHEST)
        require_between("num_patches", self.num_patches, 1, MOST_PATCHES)
        require_between("projection_units", self.projection_units, 1, MOST_UNITS)
        for name in ("nce_weight", "identity_weight", "pixel_identity_weight", "r1_weight"):
            require_between(name, getattr(self, name), 0, HIGHEST)
        layers = f"pixels, stem, down and res1 to res{STYLE_BLOCKS}"
        check_places(self.places, self.generator.layer_channels(), layers)
        start_size = self.generator.start_size
        require(
            min(self.discriminator.widths(start_size)) > 0,
            _too_thin("discriminator", self.discriminator.channels, start_size, start_size // 256),
        )

    @property
    def domain_weights(self) -> dict[str, float]:
        """Each domain's weight in w * (NCE(A) + v * NCE(B)) / (1 + v), as in CUT, without weights of 0."""
        return domain_weights(CUTConfig(nce_weight=self.nce_weight, identity_weight=self.identity_weight))

    @property
    def translates_b(self) -> bool:
        """Whether a step translates images of B: for NCE or for the pixels."""
        return "b" in self.domain_weights or self.pixel_identity_weight > 0


SINCUT = SinCUTConfig()
