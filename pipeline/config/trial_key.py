"""The identity of a trial: one key is one trial, one folder and one MLflow run."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any

from models.configs.cut import CUTConfig
from models.configs.own_code import OwnCode
from pipeline.cache import content_key
from pipeline.config.schema import Config

# Increase this by one if a change of the code changes results. Every trial then gets a new key and trains again.
RESULT_VERSION = 1

# Settings that cannot change a trial's result. The data set and the metric's weights enter the key by their content.
NOT_IN_KEY = (
    "compute",
    "tracking",
    "paths",
    "data.name",
    "data.root",
    "data.expected_images",
    "data.on_bad",
    "metric.batch_size",
    "metric.grid_images",
    "metric.weights",
    # Extra metrics change neither the training nor the distances.
    "metric.also",
    "metric.segmentation",
    "train.checkpoint_every_epochs",
    "train.checkpoint_every_minutes",
    "train.log_every_steps",
    # These change only the rounding, as another device or number of threads does.
    "train.channels_last",
    "train.recompute",
    "train.compile",
    "train.cuda_graphs",
)
# Fields added later, with the value of all earlier trials. A field with this value is left out of the key.
ADDED = {
    "train.precision": "float32",
    "metric.to_8_bits": "round",
    "model.code": None,
    "model.extra_loss": None,
    "model.extra_weight": 1.0,
    "model.generated.num_negatives": 256,
    "model.generated.noise_size": 64,
    "model.generated.momentum": 0.9,
    "model.generated.diversity_weight": 1.0,
    "model.generated.through_encoder": True,
    "model.weighting": "uniform",
    "model.hard.gamma_start": 50.0,
    "model.hard.gamma_end": 10.0,
    "model.optimal_transport.epsilon": 1.0,
    "model.optimal_transport.prefer": "similar",
    "model.optimal_transport.iterations": 50,
    "model.optimal_transport.through_queries": True,
    "model.top_k": 5,
    "model.decoupled": False,
    "model.queries": "random",
    "model.attention.layers": "res1, res5",
    "model.attention.window": "global",
    "model.guided.oversample": 4,
    "model.guided.random_share": 0.5,
    "model.relation": "none",
    "model.relation_weight": 0.05,
}

OWN_CODE = {field.name for field in fields(OwnCode)}


def trial_key(config: Config, data: str, weights: str) -> str:
    """Return a trial's key: 16 hexadecimal digits of a hash of everything that can change its result.

    data: the fingerprint of the data set's content. weights: that of the metric's network.
    """
    identity = {"fields": keyed_fields(config), "data": data, "weights": weights, "version": RESULT_VERSION}
    return content_key(identity)


def keyed_fields(config: Config) -> dict[str, str | int | float | bool | None]:
    """Return the fields that can change a trial's result by their dotted names, as `leaves` gives them."""
    if isinstance(config.model, CUTConfig):
        config = replace(config, model=config.model.used)
    found = {name: value for name, value in leaves(asdict(config)) if not _excluded(name)}
    return {name: value for name, value in found.items() if ADDED.get(name) != value}


def can_change_results(override: str) -> bool:
    """Return whether an override such as 'train.batch_size=2' can change a trial's result on its task."""
    name = override.partition("=")[0].lstrip("+~")
    return name != "task" and not _excluded(name)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of nested settings with its dotted name. Lists become 'a, b', and code becomes its hash."""
    if isinstance(value, Mapping) and value.keys() == OWN_CODE:
        yield prefix, content_key(value["text"])
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, value


def own_code(config: Config) -> OwnCode | None:
    """Return the user's file; None if the model uses none of its functions."""
    return config.model.used.code if isinstance(config.model, CUTConfig) else None


# A thousand trials have the same names.
@cache
def _excluded(name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in NOT_IN_KEY)
