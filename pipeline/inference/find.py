"""From what a command line says of a trained generator to its checkpoint."""

from pathlib import Path

from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.inference.load import find_checkpoint

# Where checkpoints and records are.
PLACES = ("paths", "tracking")


def find_meant(run: str, overrides: list[str]) -> Path:
    """The checkpoint that a user means, where overrides may say where trials and records are."""
    places = compose_surroundings([text for text in overrides if text.startswith(PLACES)])
    return find_checkpoint(run, Path(places.paths.trials), tracking_uri(places))
