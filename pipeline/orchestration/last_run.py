"""Find a recorded sweep as it was last run: its file and its overrides."""

from collections.abc import Sequence
from pathlib import Path

from analysis.records.names import sweep_name
from analysis.records.schema import RecordsError
from analysis.store.overview import recorded_tasks
from analysis.store.reader import read_sweep
from pipeline.config.compose import compose_surroundings, only_parts, tracking_uri
from pipeline.config.sweep_file import SWEEPS, Sweep, load_sweep
from pipeline.errors import UserError
from pipeline.inference.find import STORE_PARTS


def find_last_run(name: str, overrides: Sequence[str]) -> tuple[Sweep, list[str]]:
    """Return a sweep and the overrides to plan it with, completed from the record of its last run.

    name: a sweep in sweeps/, a path, or the name of a recorded sweep whose file is elsewhere. If no override chooses a
    task, the overrides of the last run come before the given ones. Raises UserError if the sweep was run on several
    tasks and none is chosen.
    """
    chosen = any(text.startswith("task=") for text in overrides)
    in_sweeps = (SWEEPS / f"{name}.yaml").is_file() or name.endswith((".yaml", ".yml")) or "/" in name
    if chosen and in_sweeps:
        return load_sweep(name), list(overrides)
    uri = tracking_uri(compose_surroundings(only_parts(overrides, STORE_PARTS)))
    recorded_name = sweep_name(name)
    try:
        tasks = recorded_tasks(uri, recorded_name)
    except RecordsError:  # the sweep was never run; a store that does not answer is reported by the plan
        return load_sweep(name), list(overrides)
    if len(tasks) > 1 and not chosen:
        raise UserError(f"{recorded_name}: recorded for several tasks ({', '.join(tasks)}). Choose one with task=…")
    record = read_sweep(uri, recorded_name, tasks[0])
    if not in_sweeps and Path(record.file).is_file():
        print(f"{name} was last run from {record.file}. Using this file.")
        name = record.file
    if record.command and not chosen:
        print(f"{recorded_name} was last run with {' '.join(record.command)}. Using these overrides.")
        overrides = [*record.command, *overrides]
    return load_sweep(name), list(overrides)
