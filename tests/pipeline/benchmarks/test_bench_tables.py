from pathlib import Path

from analysis.store.reader import read_sweep
from pipeline.benchmarks.tables import METRICS, SEEDS, fill_store


def test_the_store_that_is_read_for_the_bench_holds_as_many_trials_as_it_says(project: Path) -> None:
    uri = f"sqlite:///{project / 'mlflow.db'}"
    fill_store(uri, project, 2 * SEEDS + 3)
    record = read_sweep(uri, "many", "stripes")
    assert len(record.finished) == 2 * SEEDS + 3
    assert [len(row.keys) for row in record.rows] == [SEEDS, SEEDS, 3]
    values = [name for name in record.runs if str(name).startswith(("last/", "best/", "cost/"))]
    assert len(values) + 1 == METRICS  # the step that was reached is one more
