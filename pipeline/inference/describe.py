"""Say which network a checkpoint has: its method, its rows in sweeps, and what it was trained on."""

from analysis.records.names import ROW_TAGS
from analysis.records.printable import printable
from pipeline.config.compose import tracking_uri
from pipeline.config.places import trials_folder
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.inference.load import Trained
from pipeline.tracking.store import Tracker, store_lock

METHODS = {"cut": "CUT", "cyclegan": "CycleGAN", "sincut": "SinCUT", "dclgan": "DCLGAN"}


def describe(trained: Trained, store: Config) -> str:
    """Return a sentence about the network. store: the settings that say where the records are."""
    file, config = printable(trained.file), trained.config
    if config is None:
        channels = f"{trained.generator.in_channels} to {trained.generator.out_channels} channels"
        return f"{file}: a generator of {channels} without settings, so its training is unknown."
    height, width = config.data.size
    rows = _rows(trained.file.absolute().parent.name, config.data.name, store)
    method = METHODS[config.model.method]
    data = f"{printable(config.data.name)} at {height} x {width}"
    return f"{file}: {method}, {rows}, seed {config.seed}, trained on {data} to step {trained.step}."


def _rows(key: str, task: str, store: Config) -> str:
    """Return the rows that the trial has in recorded sweeps."""
    uri = tracking_uri(store)
    lock = store_lock(uri, trials_folder(store.paths).absolute())
    try:
        record = Tracker(uri, task, "", lock).find_trials().get(key)
    except UserError as error:
        return f"row unknown ({error})"
    tags = record.tags if record else {}
    rows = {tag.removeprefix(ROW_TAGS): row for tag, row in tags.items() if tag.startswith(ROW_TAGS)}
    named = [f"row {printable(row)!r} of {sweep}" for sweep, row in sorted(rows.items())]
    return " and ".join(named) or "in no recorded sweep"
