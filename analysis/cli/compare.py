"""just compare: print two records next to each other."""

from analysis.records.mlflow_reader import default_store, read_sweep, recorded_tasks
from analysis.records.schema import RecordsError
from analysis.tables.compare import Side, comparison


def compare(one: str, other: str, other_store: str | None) -> int:
    """Compare two records, each given as SWEEP, SWEEP/TASK, or one of these with @RESULT_VERSION."""
    first = _read_side(default_store(), one)
    second = _read_side(other_store or default_store(), other)
    if first.name == second.name and other_store:
        first, second = Side(f"{first.name} here", first.record), Side(f"{second.name} there", second.record)
    print(comparison(first, second), end="")
    return 0


def _read_side(uri: str, text: str) -> Side:
    """Read the record of 'SWEEP/TASK@VERSION'. The task may be missing if there is only one, and the version too."""
    name, _, version = text.partition("@")
    sweep, _, task = name.partition("/")
    if not task:
        tasks = recorded_tasks(uri, sweep)
        if len(tasks) > 1:
            known = ", ".join(f"{sweep}/{known}" for known in tasks)
            raise RecordsError(f"{text}: this sweep has records of several tasks. Choose one: {known}")
        (task,) = tasks
    return Side(text, read_sweep(uri, sweep, task, version))
