"""The identity of a trial: the same key is the same trial, the same folder, the same MLflow run."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pipeline.cache import content_key
from pipeline.config.schema import Config

# Raised by one where a change of code changes results: every trial is then another trial, and trains again.
RESULT_VERSION = 1

# What cannot change a trial's result stays out of its key. Data set and the metric's weights enter by content.
NOT_IN_KEY = (
    "compute",
    "tracking",
    "paths",
    "data.name",
    "data.root",
    "data.expected_images",
    "metric.batch_size",
    "metric.grid_images",
    "metric.weights",
    # Further scores change neither the training nor the distances.
    "metric.also",
    "metric.segmentation",
    "train.checkpoint_every_epochs",
    "train.checkpoint_every_minutes",
    "train.log_every_steps",
    # The same values but for rounding, as by another device or number of threads.
    "train.channels_last",
    "train.recompute",
    "train.compile",
    "train.cuda_graphs",
)
# Fields of a later day, with what holds for all trials from before: at that value they are left out.
ADDED = {"train.precision": "float32"}


def trial_key(config: Config, data: str, weights: str) -> str:
    """The identity of a trial: 16 hexadecimal digits of a hash of all that can change its result.

    `data` and `weights` are the fingerprints of the data set's content and of the metric's network.
    """
    identity = {"fields": keyed_fields(config), "data": data, "weights": weights, "version": RESULT_VERSION}
    return content_key(identity)


def keyed_fields(config: Config) -> dict[str, str | int | float | bool | None]:
    """The fields that can change a trial's result, under their dotted names; lists as 'a, b'."""
    fields = {name: value for name, value in leaves(asdict(config)) if not _excluded(name)}
    return {name: value for name, value in fields.items() if ADDED.get(name) != value}


def can_change_results(override: str) -> bool:
    """Whether an override of the command line, as 'train.batch_size=2', may change a trial's result on its task."""
    name = override.partition("=")[0].lstrip("+~")
    return name != "task" and not _excluded(name)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of nested settings with its dotted name; lists as 'a, b'."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, value


def _excluded(name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in NOT_IN_KEY)
