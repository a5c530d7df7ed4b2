"""Trained networks, wherever they are from: a trial of ours, or a checkpoint of the reference code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.build import build_objective
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.networks.generator import Generator
from models.networks.weights import load_weights, named_tensors
from models.reference_checkpoint import read_generator, reference_tensors
from pipeline.config.schema import Config
from pipeline.errors import UserError, first_line
from pipeline.tracking.store import key_of_run
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.checkpoint_format import config_in, is_trial, migrate

GIVE_ANOTHER = "Give another file."


@dataclass(frozen=True)
class Trained:
    """A generator from A to B and the file it is from; the trial's settings and steps so far, unless that file is the
    reference code's."""

    generator: Generator
    file: Path
    config: Config | None = None
    step: int | None = None


def find_checkpoint(name: str, trials: Path, uri: str) -> Path:
    """The file that a user means by a path, by a trial's key or how it begins, or by the id of its run in MLflow.

    Raises UserError where it is none of these, or more than one.
    """
    for file in (Path(name), Path(name) / "last.pt"):
        if file.is_file():
            return file
    matching = sorted(trials.glob(f"{name}*/last.pt")) if name.isalnum() else []
    if len(matching) > 1:
        keys = ", ".join(path.parent.name for path in matching)
        raise UserError(f"{name}: {len(matching)} trials begin so ({keys}); write more of the key")
    if matching:
        return matching[0]
    key = key_of_run(uri, name) if name.isalnum() else None
    if key is None:
        raise UserError(f"{name}: no file, no trial of {trials}/ and no run of {uri}; `just plan NAME` shows the keys")
    if not (trials / key / "last.pt").is_file():
        raise UserError(
            f"{name}: its trial has no checkpoint at {trials / key / 'last.pt'}; train it, or set paths.trials"
        )
    return trials / key / "last.pt"


def load_trained(file: Path) -> Trained:
    """The generator in a checkpoint of either kind. Raises UserError for a file of another."""
    content = load_checkpoint(file, GIVE_ANOTHER)
    if is_trial(content):
        objective, config = _objective(content, file)
        return Trained(objective.translator, file, config, content.get("step"))
    try:
        generator = read_generator(reference_tensors(content, str(file)), str(file))
    except ValueError as error:
        raise UserError(str(error)) from None
    except RuntimeError as error:  # torch's, for sizes that no memory holds
        raise UserError(f"{file}: no network can be made of it ({first_line(error)}). {GIVE_ANOTHER}") from None
    if not {generator.in_channels, generator.out_channels} <= {1, 3}:
        channels = f"{generator.in_channels} to {generator.out_channels} channels"
        raise UserError(f"{file}: a generator from {channels}; images have 1 or 3. {GIVE_ANOTHER}")
    return Trained(generator, file)


def load_objective(file: Path) -> CUTObjective | CycleGANObjective:
    """All networks of a trial. Raises UserError for a file that is not a trial's checkpoint."""
    content = load_checkpoint(file, GIVE_ANOTHER)
    if not is_trial(content):
        raise UserError(f"{file}: not a trial's checkpoint. Give a file such as trials/KEY/last.pt.")
    return _objective(content, file)[0]


def _objective(content: dict[str, Any], file: Path) -> tuple[CUTObjective | CycleGANObjective, Config]:
    content = migrate(content, file, GIVE_ANOTHER)
    config = config_in(content, file)
    objective = build_objective(config.model, config.data.shape, torch.Generator())
    try:
        load_weights(objective, named_tensors(content["objective"], str(file)), str(file))
    except ValueError as error:
        raise UserError(str(error)) from None
    return objective, config
