"""Find the checkpoint that a command line names."""

from pathlib import Path

from pipeline.config.compose import compose_surroundings, only_parts, tracking_uri
from pipeline.errors import UserError
from pipeline.tracking.store import key_of_run

# The parts of the settings that say where checkpoints and records are.
STORE_PARTS = ("paths", "tracking")


def find_checkpoint(run: str, overrides: list[str]) -> Path:
    """Return the checkpoint of a path, a trial's key, the beginning of a key, or the id of an MLflow run.

    Overrides can say where trials and records are. Raises UserError if there is no such checkpoint, or more than one.
    """
    config = compose_surroundings(only_parts(overrides, STORE_PARTS))
    trials, uri = Path(config.paths.trials), tracking_uri(config)
    for file in (Path(run), Path(run) / "last.pt"):
        if file.is_file():
            return file
    matching = sorted(trials.glob(f"{run}*/last.pt")) if run.isalnum() else []
    if len(matching) > 1:
        keys = ", ".join(path.parent.name for path in matching)
        raise UserError(f"{run}: {len(matching)} trials begin with this ({keys}). Give more digits of the key")
    if matching:
        return matching[0]
    key = key_of_run(uri, run) if run.isalnum() else None
    if key is None:
        raise UserError(
            f"{run}: no such file, no such trial in {trials}/ and no such run in {uri}. `just plan NAME` lists the keys"
        )
    checkpoint = trials / key / "last.pt"
    if not checkpoint.is_file():
        raise UserError(f"{run}: its trial has no checkpoint at {checkpoint}. Train it, or set paths.trials")
    return checkpoint
