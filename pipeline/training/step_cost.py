"""What a training step costs, counted once for each model, shape and version of the code, and stored in the cache."""

import functools
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import models
import pipeline
from models.configs.cut import CUTConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.model import ModelConfig
from models.configs.sincut import SinCUTConfig
from pipeline.cache import DamagedEntryError, content_key, remembered
from pipeline.config.parallel import processes_of
from pipeline.config.schema import Config
from pipeline.environment import torch_version
from pipeline.training.execution import StepCost, counted_execution

# The files of a step beside those of `models`.
COUNTED_CODE = ("training/count_step.py", "training/loop.py", "training/state.py", "hardware/memory.py")


def has_plain_step(model: ModelConfig) -> bool:
    """Return whether `models.reference.step` has the reference code's step of this model."""
    return not isinstance(model, SinCUTConfig | DCLGANConfig)


def step_cost(config: Config, cache: Path, *, plain: bool = False) -> StepCost:
    """Return the cost of a step of this trial, of one process if it has several, or of the reference's step (`plain`).

    Counting imports torch, which takes seconds. Reading the cache does not.
    """
    config = replace(config, model=_what_costs(config.model))
    model, shape = asdict(config.model), asdict(config.data.shape)
    processes = 1 if plain else processes_of(config.compute)
    counted_from = [model, shape, config.train.batch_size, processes, plain, _code()]
    counted_from += [torch_version(), asdict(counted_execution(config, plain=plain))]

    def make(file: Path) -> None:
        from pipeline.training.count_step import count_step

        file.write_text(json.dumps(asdict(count_step(config, plain=plain))), encoding="utf-8")

    return remembered(cache / "costs" / f"{content_key(counted_from)}.json", make, _read_cost)


def _read_cost(file: Path) -> StepCost:
    try:
        return StepCost(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise DamagedEntryError("damaged, or written by another version") from None


def _what_costs(model: ModelConfig) -> ModelConfig:
    """Return a model of the same cost with default numbers, so that equal costs share a cache entry.

    The cost depends on whether a weight is 0, not on its value.
    """
    names = {"nce_weight", "cycle_weight", "identity_weight", "extra_weight", "pixel_identity_weight", "r1_weight"}
    weights = names & asdict(model).keys()
    model = replace(model, **{name: float(getattr(model, name) > 0) for name in weights})
    if isinstance(model, CUTConfig):
        used, same = model.used, CUTConfig()
        external, generated = replace(used.external, momentum=0.5), replace(used.generated, momentum=0.5)
        generated = replace(generated, diversity_weight=1.0)
        transport = replace(used.optimal_transport, epsilon=1.0)
        used = replace(used, temperature=1.0, external=external, generated=generated, optimal_transport=transport)
        return replace(used, hard=same.hard, relation_weight=same.relation_weight)
    if isinstance(model, SinCUTConfig | DCLGANConfig):
        return replace(model, temperature=1.0)
    return model


@functools.cache
def _code() -> str:
    """Return a hash of the code that a step runs."""
    files = sorted(Path(models.__path__[0]).rglob("*.py")) + [Path(pipeline.__path__[0], name) for name in COUNTED_CODE]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
