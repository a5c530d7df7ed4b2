"""The settings of one trial, as frozen dataclasses. Pydantic checks them in `from_json`.

`pipeline.config.compose` makes them from overrides.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.images import ImageShape
from models.configs.limits import require
from models.configs.sincut import SinCUTConfig
from pipeline.config.compute import ComputeConfig
from pipeline.config.fields import (
    Auto,
    BatchSize,
    Channels,
    Count,
    Decay,
    Epochs,
    ImageCount,
    LocalPath,
    Name,
    Place,
    Positive,
    Seed,
    Size,
)
from pipeline.config.single_image.settings import PicturesConfig, SingleConfig
from pipeline.errors import brief

# Drawn images are kept in memory (10^9 bytes).
MOST_DRAWN_GB = 4


@dataclass(frozen=True)
class StripesConfig:
    """The images of the embedded task: height and width, the counts for each domain, and the seed of the drawing.

    channels: 3, or 1 to draw that domain in gray.
    """

    kind: Literal["stripes"]
    name: Name
    size: Size
    train_count: ImageCount
    test_count: ImageCount
    drawing_seed: Annotated[int, Field(ge=0, lt=2**63)]
    channels_a: Channels
    channels_b: Channels

    def __post_init__(self) -> None:
        height, width = self.size
        images = self.train_count + self.test_count
        gb = images * height * width * (self.channels_a + self.channels_b) / 1e9
        require(
            gb <= MOST_DRAWN_GB,
            f"{images} images of {height} x {width} in each domain take {gb:.1f} GB of memory, and at most "
            f"{MOST_DRAWN_GB} are allowed. Lower train_count, test_count or size",
        )

    @property
    def shape(self) -> ImageShape:
        """The shape of the images that the model gets."""
        return ImageShape(*self.size, self.channels_a, self.channels_b)


@dataclass(frozen=True)
class FolderConfig:
    """Images in root/trainA, trainB, testA, testB: resized to load_size, then cropped at random to size.

    channels: 3, or 1 to read that domain in gray. expected_images: the number of images in trainA, trainB, testA and
    testB of the published data set. A plan uses these numbers while the images are not on this machine. on_bad: whether
    a file that cannot be read as an image stops the command, or is left out and counted.
    """

    kind: Literal["folder"]
    name: Name
    root: Place
    load_size: Size
    size: Size
    channels_a: Channels
    channels_b: Channels
    expected_images: tuple[ImageCount, ImageCount, ImageCount, ImageCount] | None = None
    on_bad: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        require(
            self.load_size[0] >= self.size[0] and self.load_size[1] >= self.size[1],
            f"load_size is {list(self.load_size)}. It must be at least size, which is {list(self.size)}",
        )

    @property
    def shape(self) -> ImageShape:
        """The shape of the images that the model gets."""
        return ImageShape(*self.size, self.channels_a, self.channels_b)


@dataclass(frozen=True)
class TrainConfig:
    """The schedule and the optimiser. The learning rate falls as `pipeline.training.state.learning_rate` says.

    A checkpoint is saved after every `checkpoint_every_epochs` epochs. It is also saved within an epoch if
    `checkpoint_every_minutes` have passed since the last one. The last five fields are those of
    `models.execution.Execution`; `pipeline.training.execution` resolves 'auto'.
    """

    constant_epochs: Epochs = 200
    decay_epochs: Epochs = 200
    batch_size: BatchSize = 1
    learning_rate: Positive = 2e-4
    beta1: Decay = 0.5
    beta2: Decay = 0.999
    checkpoint_every_epochs: Count = 1
    checkpoint_every_minutes: Positive = 10.0
    log_every_steps: Count = 100
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool | Auto = "auto"
    recompute: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "constant_epochs + decay_epochs must be at least 1")

    @property
    def epochs(self) -> int:
        """How many epochs the training has."""
        return self.constant_epochs + self.decay_epochs


Extractor = Literal[
    "inception-v3-compat", "small-conv", "efficientnet-lite0", "small-conv-map", "inception-v3-imagenet"
]
ExtraScore = Literal[
    "precision_recall", "lpips", "fd_dinov2", "fd_efficientnet_lite0", "dino_structure", "edges", "extrapolated"
]


@dataclass(frozen=True)
class MetricConfig:
    """How the test images are scored.

    extractor: 'inception-v3-compat' gives FID and KID. 'small-conv' gives the embedded task's distances, and
    'efficientnet-lite0' those of a small ImageNet network, under other names. With one image for each domain,
    'inception-v3-imagenet' gives SIFID, and 'small-conv-map' the embedded task's distance. weights: the file of
    Inception's weights; by default torch-fidelity's file, which it downloads. SIFID needs the path of torchvision's
    file. also: extra metrics. segmentation: the file of a segmentation network that scores photographs of Cityscapes
    (`pipeline.metrics.segmentation.load_segmenter`). to_8_bits: how translations get 8 bits; 'truncate' is the
    reference code's way.
    """

    extractor: Extractor = "inception-v3-compat"
    weights: LocalPath | None = None
    also: tuple[ExtraScore, ...] = ()
    segmentation: LocalPath | None = None
    to_8_bits: Literal["round", "truncate"] = "round"
    every_epochs: Count = 20
    batch_size: BatchSize = 16
    kid_subset_size: ImageCount = 100
    grid_images: Annotated[int, Field(ge=1, le=1000)] = 8


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow store. The default is MLFLOW_TRACKING_URI, else a SQLite file in the project's folder.

    also: other systems that get losses, scores and images too (`pipeline.tracking.also`).
    """

    uri: str = ""
    also: tuple[Literal["tensorboard", "wandb"], ...] = ()


@dataclass(frozen=True)
class PathsConfig:
    """The folders for checkpoints, tables, logs and cached data. Addresses: see `pipeline.config.places`."""

    trials: Place = "trials"
    results: Place = "results"
    logs: LocalPath = "logs"
    cache: LocalPath = ".cache"


@dataclass(frozen=True)
class Config:
    """All settings of one trial."""

    # Holds for the classes inside, too.
    __pydantic_config__ = ConfigDict(extra="forbid")

    seed: Seed
    data: Annotated[StripesConfig | FolderConfig | SingleConfig | PicturesConfig, Field(discriminator="kind")]
    model: Annotated[CUTConfig | CycleGANConfig | SinCUTConfig | DCLGANConfig, Field(discriminator="method")]
    train: TrainConfig = field(default_factory=TrainConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


# Fields of text. `~/` is expanded in those that are paths.
PATH_FIELDS = (
    "data.root",
    "metric.weights",
    "metric.segmentation",
    "model.code",
    *(f"paths.{folder.name}" for folder in fields(PathsConfig)),
)
TEXT_FIELDS = ("data.name", "tracking.uri", "compute.cluster", "compute.gpu", "model.extra_loss", *PATH_FIELDS)


def to_json(config: Config) -> str:
    """Return the configuration as JSON, the form for workers and checkpoints."""
    return json.dumps(asdict(config), sort_keys=True)


def from_json(text: str) -> Config:
    """Read what `to_json` wrote. Raises pydantic's ValidationError for anything else."""
    return _CONFIG.validate_json(text, strict=True)


def violations(error: ValidationError) -> list[tuple[str, str]]:
    """Return the dotted name of each field that pydantic refuses, and a sentence that names it."""
    # A field of several types has an error for each of them.
    by_field: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        by_field.setdefault(_path(details["loc"]), []).append(details)
    return [(path, _sentence(path, found)) for path, found in by_field.items()]


def _sentence(path: str, found: list[ErrorDetails]) -> str:
    message = found[0]["msg"].removeprefix("Value error, ").rstrip(".")
    match found[0]["type"]:
        case "value_error":
            return f"{path}: {message}" if path else message
        case "missing":
            return f"{path} must be given"
        case "too_long" | "string_too_long":
            return f"{path} is longer than {found[0].get('ctx', {})['max_length']}. Shorten it"
    messages = [details["msg"] for details in found]
    allowed = " or ".join(message.removeprefix("Input should be ") for message in dict.fromkeys(messages))
    for phrase, short in _SHORTER.items():
        allowed = allowed.replace(phrase, short)
    return f"{path} is {brief(found[0]['input'])}. It must be {allowed}"


def _path(location: tuple[int | str, ...]) -> str:
    """Return the field's name, without the names that pydantic gives to the members of a union."""
    return ".".join(part for part in map(str, location) if not _UNION_MEMBER.fullmatch(part))


_SHORTER = {
    "a valid array": "a list",
    "a valid integer": "a whole number",
    "a valid": "a",
    "greater than or equal to": "at least",
    "greater than": "above",
    "less than or equal to": "at most",
    "less than": "below",
}
_UNION_MEMBER = re.compile(
    r"stripes|folder|single|pictures|cut|cyclegan|sincut|dclgan|int|float|bool|constrained-\w+|literal\[.*\]"
)


_CONFIG = TypeAdapter(Config)
