"""The settings of tasks with one image for each domain, from which crops are taken."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.configs.images import ImageShape
from models.configs.limits import require
from pipeline.config.fields import Channels, LocalPath, Name, Size

# The extractors that turn one image into a map of features (`pipeline.metrics.single_image`).
MAP_EXTRACTORS = ("small-conv-map", "inception-v3-imagenet")


@dataclass(frozen=True, kw_only=True)
class CropsConfig:
    """Crops of `size` from one image for each domain. An epoch has crops_per_epoch // batch_size steps.

    largest_shrink: before a crop, width and height are each multiplied by a zoom, drawn uniformly from
    [1 / largest_shrink, 1]. zoom: whether each crop draws its own zooms, as in the released code, or each batch.
    channels: 3, or 1 to turn that domain into gray. The defaults are those of the released code of SinCUT.
    """

    name: Name
    size: Size
    channels_a: Channels
    channels_b: Channels
    crops_per_epoch: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    largest_shrink: Annotated[float, Field(ge=1, le=100)] = 3.0
    zoom: Literal["per_crop", "per_batch"] = "per_crop"

    @property
    def shape(self) -> ImageShape:
        """The shape of the images that the model gets."""
        return ImageShape(*self.size, self.channels_a, self.channels_b)


@dataclass(frozen=True, kw_only=True)
class SingleConfig(CropsConfig):
    """The user's two images: the only ones in root/trainA and root/trainB. They are the test images too."""

    kind: Literal["single"]
    root: LocalPath


@dataclass(frozen=True, kw_only=True)
class PicturesConfig(CropsConfig):
    """Two pictures that the project draws: their height and width, and the seed of the drawing."""

    kind: Literal["pictures"]
    image_size: Size
    drawing_seed: Annotated[int, Field(ge=0, lt=2**63)]

    def __post_init__(self) -> None:
        smaller = any(side < crop for side, crop in zip(self.image_size, self.size, strict=True))
        sizes = f"image_size is {list(self.image_size)}. It must be at least size, which is {list(self.size)}"
        require(not smaller, sizes)
