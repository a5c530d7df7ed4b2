"""What one trial is: frozen settings, checked when they are made. How they are composed is `config.py`'s."""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, TypeAdapter

from models.configs import CUTConfig, CycleGANConfig, ImageShape, require

Channels = Literal[1, 3]


def _require_name(name: str) -> None:
    """A task's name is an experiment's and a folder's, too."""
    require(
        re.fullmatch(r"\w[\w .+-]*", name) is not None,
        f"name is {name!r}; letters, digits, '_', '-', '.', '+' and spaces make a name",
    )


def _as_pair(value: Any) -> Any:
    match value:
        case int() if not isinstance(value, bool):
            return value, value
        case [int(), int()]:
            return tuple(cast(list[int], value))
        case _:
            raise ValueError(f"{value!r} is no size; write one number for a square, or [height, width]")


# Height and width in pixels; one number stands for a square.
Size = Annotated[tuple[int, int], BeforeValidator(_as_pair)]


@dataclass(frozen=True)
class StripesConfig:
    """The embedded task's pictures: height and width, counts a domain, and the seed they are drawn from.

    channels: 3, or 1 to draw that domain in gray.
    """

    kind: Literal["stripes"]
    name: str
    size: Size
    train_count: int
    test_count: int
    drawing_seed: int
    channels_a: Channels
    channels_b: Channels

    def __post_init__(self) -> None:
        _require_name(self.name)
        require(min(self.train_count, self.test_count) >= 2, "train_count and test_count must be at least 2")
        require(self.drawing_seed >= 0, f"drawing_seed is {self.drawing_seed}; it must not be negative")
        require(min(self.size) >= 16, f"size is {_spelt(self.size)}; each side must be at least 16")

    @property
    def shape(self) -> ImageShape:
        """What a model is given."""
        return ImageShape(*self.size, self.channels_a, self.channels_b)


@dataclass(frozen=True)
class FolderConfig:
    """Images in root/trainA, trainB, testA, testB: resized to load_size, cropped at random to size (height, width).

    channels: 3, or 1 for a domain that is read in gray. expected_images: how many trainA, trainB, testA and testB
    hold in the published set; a plan counts with them where the images are not here.
    """

    kind: Literal["folder"]
    name: str
    root: str
    load_size: Size
    size: Size
    channels_a: Channels
    channels_b: Channels
    expected_images: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        _require_name(self.name)
        require(min(self.size) >= 16, f"size is {_spelt(self.size)}; each side must be at least 16")
        require(
            min(self.expected_images or (2,)) >= 2,
            f"expected_images is {self.expected_images}; each must be at least 2",
        )
        require(
            self.load_size[0] >= self.size[0] and self.load_size[1] >= self.size[1],
            f"load_size {_spelt(self.load_size)} is below size {_spelt(self.size)}; raise it",
        )

    @property
    def shape(self) -> ImageShape:
        """What a model is given."""
        return ImageShape(*self.size, self.channels_a, self.channels_b)


Auto = Literal["auto"]
# Ray counts GPUs in steps of 1/10000.
RAY_STEPS = 10_000


@dataclass(frozen=True)
class TrainConfig:
    """The schedule and the optimiser; rates as in `pipeline.training.state.Schedule`. How a step is carried out:
    `models.execution.Execution`; 'auto' is resolved in `pipeline.training.execution`.

    A checkpoint is saved at the end of every `checkpoint_every_epochs`-th epoch, and within an epoch when
    `checkpoint_every_minutes` have passed since the last one.
    """

    constant_epochs: int = 200
    decay_epochs: int = 200
    batch_size: int = 1
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    checkpoint_every_epochs: int = 1
    checkpoint_every_minutes: float = 10.0
    log_every_steps: int = 100
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool | Auto = "auto"
    recompute: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        require(self.constant_epochs + self.decay_epochs >= 1, "constant_epochs + decay_epochs must be at least 1")
        require(min(self.constant_epochs, self.decay_epochs) >= 0, "epochs must not be negative")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; it must be at least 1")
        require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; it must be above 0")
        require(0 <= self.beta1 < 1 and 0 <= self.beta2 < 1, "beta1 and beta2 must lie in [0, 1)")
        require(
            min(self.checkpoint_every_epochs, self.log_every_steps) >= 1,
            "checkpoint_every_epochs and log_every_steps must be at least 1",
        )
        require(
            self.checkpoint_every_minutes > 0,
            f"checkpoint_every_minutes is {self.checkpoint_every_minutes}; it must be above 0",
        )


@dataclass(frozen=True)
class MetricConfig:
    """How test images are scored.

    extractor: 'inception-v3-compat' gives FID and KID; 'small-conv' gives the embedded task's own distance,
    under its own name. weights: Inception's file, else torch-fidelity's own place or download. also: what is scored
    beside it. segmentation: the file of a network by which Cityscapes' photographs are scored
    (`pipeline.metrics.segmentation.load_segmenter`).
    """

    extractor: Literal["inception-v3-compat", "small-conv"] = "inception-v3-compat"
    weights: str | None = None
    also: tuple[Literal["precision_recall", "lpips", "fd_dinov2"], ...] = ()
    segmentation: str | None = None
    every_epochs: int = 20
    batch_size: int = 16
    kid_subset_size: int = 100
    grid_images: int = 8

    def __post_init__(self) -> None:
        for name in ("every_epochs", "batch_size", "grid_images"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        require(self.kid_subset_size >= 2, f"kid_subset_size is {self.kid_subset_size}; it must be at least 2")


@dataclass(frozen=True)
class ComputeConfig:
    """What a trial may use; 'auto' is worked out in `pipeline.hardware.allocation`.

    device: auto is CUDA where there is some, else the CPU. cpus_per_trial: cores, and so threads. gpus_per_trial: a
    whole GPU (1) or a part of one. most_per_gpu: how many trials 'auto' puts on one GPU at the most. mps: 'auto' starts
    NVIDIA's Multi-Process Service for a sweep whose trials share a GPU (`pipeline.hardware.mps`). memory_gb: the main
    memory (10^9 bytes) that all trials of a CPU may take together. price_per_hour: of a GPU, or of the machine where
    there is none, in whatever currency; tables then have a column of what a trial costs.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus_per_trial: int | Auto = "auto"
    gpus_per_trial: float | Auto = "auto"
    most_per_gpu: int = 4
    mps: Literal["off", "auto"] = "off"
    memory_gb: float | Auto = "auto"
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        require(
            self.price_per_hour is None or self.price_per_hour > 0,
            f"price_per_hour is {self.price_per_hour}; it must be above 0",
        )
        for name in ("cpus_per_trial", "most_per_gpu"):
            value = getattr(self, name)
            require(value == "auto" or value >= 1, f"{name} is {value}; it must be at least 1")
        for name in ("gpus_per_trial", "memory_gb"):
            value = getattr(self, name)
            require(value == "auto" or value > 0, f"{name} is {value}; it must be above 0")
        gpus = self.gpus_per_trial
        require(
            gpus == "auto" or gpus <= 1,
            f"gpus_per_trial is {gpus}. A trial uses one GPU: write 1 or a part of it, such as 0.5.",
        )
        # Ray cuts further digits off, and would start more trials than there is memory for.
        steps = 0 if gpus == "auto" else gpus * RAY_STEPS
        require(
            abs(steps - round(steps)) < 1e-6,
            f"gpus_per_trial is {gpus}. At most four decimals are allowed. Write {max(1, int(steps)) / RAY_STEPS:g}.",
        )


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow store; by default MLFLOW_TRACKING_URI, else a SQLite file in the project's folder."""

    uri: str = ""


@dataclass(frozen=True)
class PathsConfig:
    """Where trials keep checkpoints, sweeps their tables and logs, and decoded data its cache."""

    trials: str = "trials"
    results: str = "results"
    logs: str = "logs"
    cache: str = ".cache"


@dataclass(frozen=True)
class Config:
    """One trial, whole."""

    seed: int
    data: Annotated[StripesConfig | FolderConfig, Field(discriminator="kind")]
    model: Annotated[CUTConfig | CycleGANConfig, Field(discriminator="method")]
    train: TrainConfig = field(default_factory=TrainConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


def to_json(config: Config) -> str:
    """The whole configuration as JSON: what travels to a worker and stands in checkpoints."""
    return json.dumps(asdict(config), sort_keys=True)


def from_json(text: str) -> Config:
    """What `to_json` wrote. Raises pydantic's ValidationError for anything else."""
    return _CONFIG.validate_json(text, strict=True)


def _spelt(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


_CONFIG = TypeAdapter(Config)
