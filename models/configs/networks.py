"""Settings of the ResNet generator and of the PatchGAN."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from models.configs.limits import MOST_BLOCKS, MOST_CHANNELS, MOST_DISCRIMINATOR_LAYERS, require, require_between


@dataclass(frozen=True)
class GeneratorConfig:
    """The ResNet generator. The defaults are the paper's 'resnet_9blocks'."""

    channels: int = 64
    blocks: int = 9
    antialias: bool = True

    def __post_init__(self) -> None:
        require_between("generator.channels", self.channels, 1, MOST_CHANNELS)
        require_between("generator.blocks", self.blocks, 1, MOST_BLOCKS)

    def layer_channels(self, image_channels: int = 3) -> dict[str, int]:
        """Return the channels of each encoder layer that PatchNCE can use, in running order."""
        deep = 4 * self.channels
        return {
            "pixels": image_channels,
            "stem": self.channels,
            "down1": 2 * self.channels,
            "down2": deep,
            **{f"res{number}": deep for number in range(1, self.blocks + 1)},
        }


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The PatchGAN. With the defaults, a score sees 70 x 70 pixels."""

    channels: int = 64
    layers: int = 3
    antialias: bool = True

    def __post_init__(self) -> None:
        require_between("discriminator.channels", self.channels, 1, MOST_CHANNELS)
        require_between("discriminator.layers", self.layers, 1, MOST_DISCRIMINATOR_LAYERS)


def check_places(places: Sequence[str], known: Container[str], spelt: str) -> None:
    """Raise ValueError unless PatchNCE's layers are some of the known ones. spelt: these, for the error."""
    unknown = [layer for layer in places if layer not in known]
    require(not unknown, f"places names {', '.join(unknown)[:100]}; this generator has {spelt}")
    require(len(places) > 0, "places is empty; name at least one, or set nce_weight=0")
    require(len(set(places)) == len(places), f"places names one twice: {', '.join(places)[:100]}")
