"""just drop: delete the runs and checkpoints of one row of a sweep."""

import shlex
import shutil
import sys
from contextlib import ExitStack

from analysis.records.names import ROW_TAGS, SINGLE
from analysis.records.schema import RecordsError
from pipeline.config.places import results_folder, stored_trial, trials_folder
from pipeline.errors import UserError, first_line, nearest
from pipeline.orchestration.last_run import find_last_run
from pipeline.orchestration.planner import Plan, PlannedTrial, plan_sweep
from pipeline.storage.address import is_address
from pipeline.storage.folder import delete_all, put_results
from pipeline.tracking.lease import is_leased
from pipeline.trial.lock import claimed


def drop(name: str, row: str, overrides: list[str], *, yes: bool) -> int:
    """Delete the MLflow runs and checkpoints of a row's trials. Ask first, unless yes.

    The reports of all sweeps that have the trials are written again.
    """
    planned = plan_sweep(*find_last_run(name, overrides))
    sweep = planned.sweep
    rows = [found.row for found in sweep.rows]
    if row not in rows:
        raise UserError(f"{sweep.place}: no row is called {row!r}; {nearest(row, rows)}")
    trials = [found for found in planned.trials if found.trial.row == row and found.record]
    if not trials:
        print(f"{row}: no trial is recorded. Nothing to drop.")
        return 0
    if running := [found for found in trials if found.state == "training"]:
        stop = shlex.join(["just", "stop", name, row])
        raise UserError(f"Trial {running[0].key} is running in another process. Stop it first: {stop}")
    for found in trials:
        print(f"{row}, seed {found.trial.seed}: {found.key}, {found.state}{_also_in(found, sweep.name)}")
    count = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    if not yes and not confirmed(f"Delete {count} and the checkpoints?"):
        print("Nothing was dropped.")
        return 1
    paths = planned.config.paths
    folders = {found.key: trials_folder(paths) / found.key for found in trials}
    with ExitStack() as locks:
        for folder in folders.values():  # all of them before the first is deleted
            locks.enter_context(claimed(folder, planned.tracker.uri))
        for found in trials:
            if found.record and is_leased(found.record.tags):
                raise UserError(f"Trial {found.key} is running on another machine. Wait for it or stop it.")
        for found in trials:
            assert found.record is not None, "trials without a record were left out above"
            planned.tracker.delete_trial(found.record.run_id)
            if folders[found.key].exists():
                shutil.rmtree(folders[found.key])
            if address := stored_trial(paths, found.key):
                delete_all(address)
    print(f"Dropped {count}. The next run of the sweep trains {'them' if len(trials) > 1 else 'it'} again.")
    # A trial of `just train` has no report.
    for affected in sorted({in_sweep for found in trials for in_sweep in _rows_of(found)} - {SINGLE}):
        _write_again(affected, planned)
    return 0


def _write_again(sweep: str, plan: Plan) -> None:
    """Write the report of a sweep that has lost trials, here and in MLflow."""
    from analysis.report.write import write_results  # matplotlib, which only a row that is dropped needs

    print(f"Writing the report of {sweep} again …")
    try:
        results = results_folder(plan.config.paths)
        written = write_results(plan.tracker.uri, sweep, plan.task, results)
        if is_address(plan.config.paths.results):
            put_results(results, plan.config.paths.results, sweep, plan.task)
        plan.tracker.attach_results(sweep, written.folder, written.description, {})
    except (RecordsError, UserError, OSError) as error:
        # The row is gone all the same, and the reports of other sweeps are still to be written.
        print(f"It could not be written ({first_line(error)}). Try again with: just tables {sweep}")


def _rows_of(found: PlannedTrial) -> dict[str, str]:
    """Return the sweeps that a trial belongs to, and its row in each."""
    tags = found.record.tags if found.record else {}
    return {tag.removeprefix(ROW_TAGS): row for tag, row in tags.items() if tag.startswith(ROW_TAGS)}


def _also_in(found: PlannedTrial, sweep: str) -> str:
    others = [f"{other}: {row}" for other, row in _rows_of(found).items() if other != sweep]
    return f"; also in {', '.join(sorted(others))}" if others else ""


def confirmed(question: str) -> bool:
    """Ask on the terminal. Raises UserError if there is none."""
    if not sys.stdin.isatty():
        raise UserError(f"{question} This is not a terminal, so nobody can answer. Pass --yes to confirm.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
