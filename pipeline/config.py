"""Typed configuration: composed by Hydra once, checked whole, frozen; and the identity of a trial.

The only file that knows Hydra. Everything behind it sees `Config`.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, TypeAdapter, ValidationError

from models.configs import CUT, CYCLEGAN, FASTCUT, CUTConfig, CycleGANConfig, check_model_fits, require
from pipeline.errors import UserError, nearest

# Raised by one where a change of code changes results: every trial is then another trial, and trains again.
RESULT_VERSION = 1

# What cannot change a trial's result stays out of its key. The data set enters by its content instead.
NOT_IN_KEY = (
    "compute",
    "tracking",
    "paths",
    "data.name",
    "data.root",
    "metric.batch_size",
    "metric.grid_images",
    "metric.weights",
    "train.checkpoint_every_epochs",
    "train.log_every_steps",
)

# Options of the groups on the command line and in sweep files; each is a file of pipeline/conf or a preset.
MODELS = {"cut": CUT, "fastcut": FASTCUT, "cyclegan": CYCLEGAN}
TASKS = ("stripes", "horse2zebra", "cat2dog", "folder")
GROUPS: dict[str, tuple[str, ...]] = {"model": tuple(MODELS), "schedule": tuple(MODELS), "task": TASKS}


@dataclass(frozen=True)
class StripesConfig:
    """The embedded task's pictures: size in pixels, counts a domain, and the seed they are drawn from."""

    kind: Literal["stripes"]
    name: str
    size: int
    train_count: int
    test_count: int
    drawing_seed: int

    def __post_init__(self) -> None:
        require(min(self.train_count, self.test_count) >= 2, "train_count and test_count must be at least 2")


@dataclass(frozen=True)
class FolderConfig:
    """Images in root/trainA, trainB, testA, testB: resized to load_size, cropped at random to size (pixels)."""

    kind: Literal["folder"]
    name: str
    root: str
    load_size: int
    size: int

    def __post_init__(self) -> None:
        require(self.load_size >= self.size, f"load_size {self.load_size} is below size {self.size}; raise it")


@dataclass(frozen=True)
class TrainConfig:
    """The schedule and the optimiser; rates as in `pipeline.trainer.Schedule`."""

    constant_epochs: int = 200
    decay_epochs: int = 200
    batch_size: int = 1
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    checkpoint_every_epochs: int = 1
    log_every_steps: int = 100

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


@dataclass(frozen=True)
class MetricConfig:
    """How test images are scored.

    extractor: 'inception-v3-compat' gives FID and KID; 'small-conv' gives the embedded task's own distance,
    under its own name. weights: Inception's file, else torch-fidelity's own place or download.
    """

    extractor: Literal["inception-v3-compat", "small-conv"] = "inception-v3-compat"
    weights: str | None = None
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
    """What a trial may use. device 'auto' is CUDA where there is some, else the CPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus_per_trial: int = 1
    gpus_per_trial: float = 1.0

    def __post_init__(self) -> None:
        require(self.cpus_per_trial >= 1, f"cpus_per_trial is {self.cpus_per_trial}; it must be at least 1")
        require(self.gpus_per_trial > 0, f"gpus_per_trial is {self.gpus_per_trial}; it must be above 0")


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow store; by default MLFLOW_TRACKING_URI, else a SQLite file in the project's folder."""

    uri: str = ""


@dataclass(frozen=True)
class PathsConfig:
    """Where trials keep checkpoints, sweeps their tables, and decoded data its cache."""

    trials: str = "trials"
    results: str = "results"
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

    def __post_init__(self) -> None:
        check_model_fits(self.model, self.data.size, self.data.size, self.train.batch_size)


_CONFIG = TypeAdapter(Config)
_BASE = {
    "seed": 0,
    "train": asdict(TrainConfig()),
    "metric": asdict(MetricConfig()),
    "compute": asdict(ComputeConfig()),
    "tracking": asdict(TrackingConfig()),
    "paths": asdict(PathsConfig()),
}


def compose_config(overrides: Sequence[str], place: str = "command line") -> Config:
    """The trial that Hydra's overrides describe ('task=stripes', 'model.temperature=0.1').

    Raises UserError with one line that names `place`, the field, and what was found.
    """
    parsed = [parse_override(text, place) for text in overrides]
    try:
        with _hydra():
            composed = compose("config", [*_refuse_unknown(parsed, place)])
            container = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{place}: {_first_line(error)}") from None
    return config_from_dict(container, place)


def config_from_dict(container: Any, place: str) -> Config:
    """A Config from plain data, every field of the right type and in its range, or a UserError."""
    try:
        return _CONFIG.validate_json(json.dumps(container), strict=True)
    except ValidationError as error:
        raise UserError(f"{place}: " + "; ".join(_violation(details) for details in error.errors())) from None


def config_to_json(config: Config) -> str:
    """The whole configuration as canonical JSON: what travels to a worker, and what a key is taken of."""
    return json.dumps(asdict(config), sort_keys=True)


def config_from_json(text: str) -> Config:
    """What `config_to_json` wrote."""
    return config_from_dict(json.loads(text), "a stored configuration")


def flatten(config: Config) -> dict[str, str | int | float | bool | None]:
    """Every field under its dotted name; lists as 'a, b'."""
    return dict(_leaves("", asdict(config)))


def trial_key(config: Config, data_fingerprint: str) -> str:
    """The identity of a trial: 16 hexadecimal digits of a hash of all that can change its result."""
    kept = {name: value for name, value in flatten(config).items() if not _excluded(name)}
    identity = json.dumps({"fields": kept, "data": data_fingerprint, "version": RESULT_VERSION}, sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def tracking_uri(config: Config) -> str:
    """Where the records are, absolute, since trials run in folders of their own."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, relative, path = uri.partition("sqlite:///")
    if not scheme and relative and not path.startswith("/"):
        return f"sqlite:///{os.path.abspath(path)}"  # noqa: PTH100 (a URI's path, joined as text)
    return uri


def parse_override(text: str, place: str) -> Override:
    """One 'name=value'; additions, deletions and Hydra's own sweeps are refused."""
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(f"{place}: cannot read {text!r}; write name=value, as in model.temperature=0.1") from None
    if override.is_add() or override.is_delete() or override.is_force_add():
        raise UserError(f"{place}: {text!r} adds or deletes a field; only the fields there are can be set: name=value")
    if override.is_sweep_override():
        raise UserError(f"{place}: {text!r} asks for several values; write them as rows of a sweep file")
    return override


def to_override(name: str, value: object, place: str) -> str:
    """A row's setting as Hydra's text. Raises UserError for a value that would be evaluated or is not finite."""
    if isinstance(value, str) and ("${" in value or "\\" in value):
        raise UserError(f"{place}: {name} is {value!r}; interpolations have no place in a sweep file")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}: {name} is {value}; numbers must be finite")
    if isinstance(value, list):
        return f"{name}=[{','.join(to_override('', item, place)[1:] for item in value)}]"
    if not isinstance(value, str | int | float | bool | None):
        raise UserError(f"{place}: {name} is a {type(value).__name__}; set single fields, as in model.temperature: 0.1")
    return f"{name}={json.dumps(value)}" if name not in GROUPS else f"{name}={value}"


def _refuse_unknown(overrides: Sequence[Override], place: str) -> Iterator[str]:
    """The overrides' texts, once each is known to name a group's option or a field of the composed trial."""
    groups = [override for override in overrides if override.key_or_group in GROUPS]
    for override in groups:
        options = GROUPS[override.key_or_group]
        if override.value() not in options:
            found = str(override.value())
            raise UserError(f"{place}: no {override.key_or_group} is called {found!r}; {nearest(found, options)}")
    composed = compose("config", [str(override.input_line) for override in groups])
    fields = set(_field_names(composed))
    for override in overrides:
        name = override.key_or_group
        if name not in fields and name not in GROUPS:
            raise UserError(f"{place}: no field is called {name!r}; {nearest(name, fields)}")
        if name in GROUPS or not OmegaConf.is_dict(OmegaConf.select(composed, name, throw_on_missing=False)):
            yield str(override.input_line)
        else:
            raise UserError(f"{place}: {name} is a group of fields; set one of them, as in {_an_inner(name, fields)}=…")


@contextmanager
def _hydra() -> Iterator[None]:
    store = ConfigStore.instance()
    store.store(name="base", node=_BASE)
    for name, preset in MODELS.items():
        store.store(group="model", name=name, node=asdict(preset))
    GlobalHydra.instance().clear()
    with initialize_config_module("pipeline.conf", version_base="1.3"):
        yield


def _field_names(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from _field_names(node[key], f"{prefix}{key}.")


def _an_inner(name: str, fields: set[str]) -> str:
    return min(field_name for field_name in fields if field_name.startswith(f"{name}."))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else key, inner)
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, value


def _excluded(name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in NOT_IN_KEY)


def _violation(details: Any) -> str:
    # The tags of the unions ('stripes', 'cut') stand in pydantic's path but are no fields.
    tags = {"stripes", "folder", "cut", "cyclegan"}
    path = ".".join(str(part) for part in details["loc"] if part not in tags)
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    if details["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path} is {details['input']!r}; {message[0].lower()}{message[1:]}"


def _first_line(error: Exception) -> str:
    if (missing := getattr(error, "full_key", None)) and type(error).__name__ == "MissingMandatoryValue":
        return f"{missing} must be given, as in {missing}=…"
    return str(error).splitlines()[0]
