"""Load trained networks from a checkpoint of this project or of the reference code."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.records.printable import printable
from models.build import AnyObjective, build_objective
from models.networks.any_generator import AnyGenerator
from models.networks.weights import load_weights, named_tensors
from models.reference.checkpoint import read_generator, reference_tensors
from pipeline.config.schema import Config
from pipeline.errors import UserError, first_line
from pipeline.training.checkpoint import LAST, StorageError, load_checkpoint, previous
from pipeline.training.checkpoint_format import config_in, is_trial, migrate

GIVE_ANOTHER = "Give another file."


@dataclass(frozen=True)
class Trained:
    """A generator from A to B and its file. A trial's checkpoint also has all networks, settings and a step."""

    generator: AnyGenerator
    file: Path
    objective: AnyObjective | None = None
    config: Config | None = None
    step: int | None = None


def load_trained(file: Path) -> Trained:
    """Load the generator from a checkpoint of either kind. Raises UserError for any other file.

    If a trial's last checkpoint cannot be used, the one before it serves, and a line on stderr says so.
    """
    before = previous(file)
    try:
        return _load(file)
    except UserError as error:
        if isinstance(error, StorageError) or file.name != LAST or not before.is_file():
            raise
        trained = _load(before)
        print(f"{error} Using {before} (step {trained.step}).", file=sys.stderr)
        return trained


def _load(file: Path) -> Trained:
    content = load_checkpoint(file, GIVE_ANOTHER)
    try:
        if is_trial(content):
            content = migrate(content, file, GIVE_ANOTHER)
            config = config_in(content, file)
            objective = build_objective(config.model, config.data.shape, torch.Generator())
            load_weights(objective, named_tensors(content["objective"], str(file)), str(file))
            return Trained(objective.translator, file, objective, config, content.get("step"))
        generator = read_generator(reference_tensors(content, str(file)), str(file))
    except ValueError as error:
        raise UserError(printable(str(error))) from None  # it may name tensors as the file does
    except RuntimeError as error:  # from torch, for sizes that fit into no memory
        raise UserError(f"{file}: its network cannot be built ({first_line(error)}). {GIVE_ANOTHER}") from None
    if not {generator.in_channels, generator.out_channels} <= {1, 3}:
        channels = f"{generator.in_channels} to {generator.out_channels} channels"
        raise UserError(f"{file}: a generator from {channels}. Images have 1 or 3. {GIVE_ANOTHER}")
    return Trained(generator, file)
