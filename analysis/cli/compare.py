"""just compare: print two records next to each other."""

import re

from analysis.records.names import sweep_name
from analysis.records.schema import RecordsError
from analysis.store.open_store import default_store
from analysis.store.overview import recorded_tasks
from analysis.store.reader import read_sweep
from analysis.tables.compare import Side, comparison


def compare(one: str, other: str, other_store: str | None) -> int:
    """Compare two records, each given as SWEEP, SWEEP/TASK, or one of these with @RESULT_VERSION.

    SWEEP is the name of a sweep, or its file.
    """
    first = _read_side(default_store(), one)
    second = _read_side(other_store or default_store(), other)
    if first.name == second.name and other_store:
        first, second = Side(f"{first.name} here", first.record), Side(f"{second.name} there", second.record)
    print(comparison(first, second), end="")
    return 0


def _read_side(uri: str, text: str) -> Side:
    """Read the record of 'SWEEP/TASK@VERSION'. The task may be missing if there is only one, and the version too."""
    parts = re.fullmatch(r"(.+\.ya?ml(?=[/@]|$)|[^/@]*)/?([^@]*)@?(.*)", text, re.DOTALL)
    assert parts, "each part may be empty"
    sweep, task, version = sweep_name(parts[1]), parts[2], parts[3]
    if not task:
        tasks = recorded_tasks(uri, sweep)
        if len(tasks) > 1:
            known = ", ".join(f"{sweep}/{known}" for known in tasks)
            raise RecordsError(f"{text}: this sweep has records of several tasks. Choose one: {known}")
        (task,) = tasks
    return Side(text, read_sweep(uri, sweep, task, version))
