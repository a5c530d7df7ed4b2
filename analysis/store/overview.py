"""What a store holds, over all sweeps: their names and views, and which of them use a trial."""

import re
from dataclasses import dataclass

from analysis.records.address import without_password
from analysis.records.names import IS_SWEEP, IS_TRIAL, PLAIN_NAME, ROW_TAGS, Tag, member_tag
from analysis.records.schema import RecordsError
from analysis.store.database import is_missing
from analysis.store.open_store import open_store, readable


@dataclass(frozen=True)
class TrialUse:
    """What a store knows of a trial: whether it is finished, its result version, and its sweeps.

    now: the sweeps that have it as they were last run. ever: these, and those that had it before.
    """

    finished: bool
    result_version: str
    now: frozenset[str]
    ever: frozenset[str]


def recorded_sweeps(uri: str) -> list[tuple[str, str]]:
    """Return the name and the task of every recorded sweep, sorted. Raises RecordsError if no store can be read."""
    with readable(uri):
        store = open_store(uri)
        # Others may have named theirs so that it would be a folder elsewhere.
        tasks = {number: task for number, task in store.experiments().items() if re.fullmatch(PLAIN_NAME, task)}
        found = {
            (run.tags[Tag.SWEEP], task) for number, task in tasks.items() for run in store.runs([number], IS_SWEEP)
        }
    return sorted(found)


def recorded_tasks(uri: str, sweep: str) -> list[str]:
    """Return the tasks on which a sweep was run. Raises RecordsError if there is no such sweep or no readable store."""
    recorded = recorded_sweeps(uri)
    tasks = [task for name, task in recorded if name == sweep]
    if not tasks:
        known = dict.fromkeys(name for name, _ in recorded)
        raise RecordsError(
            f"{without_password(uri)} has no sweep {sweep!r}. It has: {', '.join(known) or 'none'}. "
            f"Run it first: just sweep {sweep}"
        )
    return tasks


def read_trial_uses(uri: str) -> dict[str, TrialUse]:
    """Return what uses every recorded trial of all tasks, by its key; nothing if there is no store yet."""
    if is_missing(uri):
        return {}
    with readable(uri):
        store = open_store(uri)
        found = store.runs(list(store.experiments()), IS_TRIAL)
    uses: dict[str, TrialUse] = {}
    for run in found:
        ever = {tag.removeprefix(ROW_TAGS) for tag in run.tags if tag.startswith(ROW_TAGS)}
        # Older records do not say whether the sweep still has it.
        now = {sweep for sweep in ever if run.tags.get(member_tag(sweep)) != "no"}
        # Two tasks of the same images have runs of one trial.
        other = uses.get(run.tags[Tag.TRIAL_KEY], TrialUse(False, "", frozenset(), frozenset()))
        uses[run.tags[Tag.TRIAL_KEY]] = TrialUse(
            other.finished or run.status == "FINISHED",
            run.tags.get(Tag.RESULT_VERSION, "1"),
            other.now | now,
            other.ever | ever,
        )
    return uses


@dataclass(frozen=True)
class Experiment:
    """An experiment of MLflow, which is a task, with its tags."""

    experiment_id: str
    name: str
    tags: dict[str, str]


def recorded_experiments(uri: str) -> list[Experiment]:
    """Return all experiments of a store. Raises RecordsError if there is no readable store."""
    with readable(uri):
        store = open_store(uri)
        return [Experiment(number, name, store.experiment_tags(number)) for number, name in store.experiments().items()]
