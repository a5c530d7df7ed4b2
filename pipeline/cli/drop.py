"""The commands on what a sweep has recorded: forget a row, and make rows of a search's best."""

import shutil
import sys
from pathlib import Path

from analysis.records.names import ROW_TAGS
from pipeline.config.sweep_file import load_sweep
from pipeline.errors import UserError, nearest
from pipeline.orchestration.planner import PlannedTrial, plan_sweep
from pipeline.trial.lock import claimed


def drop(name: str, row: str, overrides: list[str], *, yes: bool) -> int:
    """Forget a row's trials: their runs in MLflow and their checkpoints. Asks first."""
    planned = plan_sweep(load_sweep(name), overrides)
    rows = [found.row for found in planned.sweep.rows]
    if row not in rows:
        raise UserError(f"{planned.sweep.place}: no row is called {row!r}; {nearest(row, rows)}")
    trials = [found for found in planned.trials if found.trial.row == row and found.record]
    if not trials:
        print(f"{row}: nothing is recorded of it")
        return 0
    if training := [found for found in trials if found.state == "training"]:
        raise UserError(f"{training[0].key}: it is being trained now; stop that process first")
    for found in trials:
        print(f"{row}, seed {found.trial.seed}: {found.key}, {found.state}{_also_in(found, planned.sweep.name)}")
    if not yes and not _agrees(f"forget {len(trials)} trials, with their checkpoints?"):
        print("nothing was dropped")
        return 1
    for found in trials:
        assert found.record is not None, "chosen so above"
        folder = Path(found.trial.config.paths.trials) / found.key
        with claimed(folder):  # nobody begins with it meanwhile
            planned.tracker.delete_trial(found.record.run_id)
            shutil.rmtree(folder, ignore_errors=True)
    print(f"dropped {len(trials)} trials; the sweep trains them anew")
    return 0


def _also_in(found: PlannedTrial, sweep: str) -> str:
    tags = found.record.tags if found.record else {}
    others = [f"{tag.removeprefix(ROW_TAGS)}: {row}" for tag, row in tags.items() if tag.startswith(ROW_TAGS)]
    others = [other for other in others if not other.startswith(f"{sweep}:")]
    return f"; also {', '.join(sorted(others))}" if others else ""


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"{question} There is nobody to ask; say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
