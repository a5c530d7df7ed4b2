"""Find the checkpoint that a command line names."""

import sys
from pathlib import Path

from pipeline.config.compose import compose_surroundings, only_parts, tracking_uri
from pipeline.errors import UserError
from pipeline.tracking.store import key_of_run
from pipeline.training.checkpoint import LAST, two_newest

# The parts of the settings that say where checkpoints and records are.
STORE_PARTS = ("paths", "tracking")


def find_checkpoint(run: str, overrides: list[str]) -> Path:
    """Return the checkpoint of a path, a trial's key, the beginning of a key, or the id of an MLflow run.

    Overrides can say where trials and records are. Raises UserError if there is no such checkpoint, or more than one.
    """
    config = compose_surroundings(only_parts(overrides, STORE_PARTS))
    trials, uri = Path(config.paths.trials), tracking_uri(config)
    if Path(run).is_file():
        return Path(run)
    if two_newest(Path(run) / LAST):
        return _newest(Path(run))
    matching = (
        [folder for folder in sorted(trials.glob(f"{run}*")) if two_newest(folder / LAST)] if run.isalnum() else []
    )
    if len(matching) > 1:
        keys = ", ".join(folder.name for folder in matching)
        raise UserError(f"{run}: {len(matching)} trials begin with this ({keys}). Give more digits of the key")
    if matching:
        return _newest(matching[0])
    key = key_of_run(uri, run) if run.isalnum() else None
    if key is None:
        raise UserError(
            f"{run}: no such file, no such trial in {trials}/ and no such run in {uri}. `just plan NAME` lists the keys"
        )
    if not two_newest(trials / key / LAST):
        raise UserError(f"{run}: its trial has no checkpoint at {trials / key / LAST}. Train it, or set paths.trials")
    return _newest(trials / key)


def _newest(folder: Path) -> Path:
    """Return the last checkpoint in a trial's folder. Say so if it is not there, and the one before serves."""
    newest = two_newest(folder / LAST)[0]
    if newest.name != LAST:
        print(f"{folder / LAST} is missing. Using {newest}.", file=sys.stderr)
    return newest
