"""Find the checkpoint of a trained generator that a command line names."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.config.schema import Config
from pipeline.inference.load import find_checkpoint

# Settings that say where checkpoints and records are.
STORAGE = ("paths", "tracking")


def compose_storage(overrides: Sequence[str]) -> Config:
    """Compose only the overrides that say where checkpoints and records are."""
    return compose_surroundings([text for text in overrides if text.startswith(STORAGE)])


def find_checkpoint_for(run: str, overrides: Sequence[str]) -> Path:
    """Return the checkpoint of a trial's key, a run's id, or a path. Other settings among the overrides are ignored."""
    config = compose_storage(overrides)
    return find_checkpoint(run, Path(config.paths.trials), tracking_uri(config))
