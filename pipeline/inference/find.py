"""Find the checkpoint that a command line names."""

import sys
from pathlib import Path

from pipeline.config.compose import compose_surroundings, only_parts, tracking_uri
from pipeline.config.places import stored_trials
from pipeline.errors import UserError
from pipeline.storage.address import joined
from pipeline.storage.store import Store
from pipeline.tracking.store import key_of_run
from pipeline.training.checkpoint import LAST, PREVIOUS, checksum_of, is_whole, two_newest

# The parts of the settings that say where checkpoints and records are.
STORE_PARTS = ("paths", "tracking")
# In the cache: checkpoints of an address.
FETCHED = "fetched"


def find_checkpoint(run: str, overrides: list[str]) -> Path:
    """Return the checkpoint of a path, a trial's key, the beginning of a key, or the id of an MLflow run.

    Overrides can say where trials and records are. Raises UserError if there is no such checkpoint, or more than one.
    """
    config = compose_surroundings(only_parts(overrides, STORE_PARTS))
    trials, uri = Path(config.paths.trials), tracking_uri(config)
    stored = stored_trials(config.paths)
    if Path(run).is_file():
        return Path(run)
    if two_newest(Path(run) / LAST):
        return _newest(Path(run))
    keys: list[str] = []
    if run.isalnum():
        keys = [key for key in (Store(stored).folders() if stored else _trained(trials)) if key.startswith(run)]
    if len(keys) > 1:
        raise UserError(f"{run}: {len(keys)} trials begin with this ({', '.join(keys)}). Give more digits of the key")
    key = keys[0] if keys else key_of_run(uri, run) if run.isalnum() else None
    place = stored or trials
    if key is None:
        raise UserError(
            f"{run}: no such file, no such trial in {place}/ and no such run in {uri}. `just plan NAME` lists the keys"
        )
    folder = _fetched(stored, key, Path(config.paths.cache)) if stored else trials / key
    if not two_newest(folder / LAST):
        raise UserError(f"{run}: its trial has no checkpoint at {place}/{key}/{LAST}. Train it, or set paths.trials")
    return _newest(folder)


def _trained(trials: Path) -> list[str]:
    """Return the keys of the trials in a folder that have a checkpoint, sorted."""
    return [folder.name for folder in sorted(trials.glob("*")) if two_newest(folder / LAST)]


def _fetched(stored: str, key: str, cache: Path) -> Path:
    """Copy a trial's last checkpoint from an address into the cache, and the one before if that is damaged.

    Return the folder. A checkpoint that is there already is not copied again.
    """
    store, folder = Store(joined(stored, key)), cache.absolute() / FETCHED / key
    found = store.objects()
    for name in (LAST, PREVIOUS):
        file = folder / name
        if name not in found:
            file.unlink(missing_ok=True)
            continue
        if not file.is_file() or checksum_of(file) != store.end_of(name, len(checksum_of(None))):
            store.fetch(name, file, found[name].size)
        if is_whole(file):
            break
    return folder


def _newest(folder: Path) -> Path:
    """Return the last checkpoint in a trial's folder. Say so if it is not there, and the one before serves."""
    newest = two_newest(folder / LAST)[0]
    if newest.name != LAST:
        print(f"{folder / LAST} is missing. Using {newest}.", file=sys.stderr)
    return newest
