"""just bench tables: the time and memory to read a large sweep and write its tables."""

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from analysis.records.names import PEAK_LIVE_GB, SECONDS_PER_ITERATION, Tag, best_metric, last_metric, row_tag
from analysis.records.schema import Manifest, SweepRow
from pipeline.benchmarks.report import Report, make_report
from pipeline.config.compose import compose_config
from pipeline.config.trial_key import RESULT_VERSION, keyed_fields
from pipeline.tracking.store import Tracker, store_lock
from pipeline.tracking.trial_run import TrialRun

SEEDS = 10
METRICS = 30
# Runs in a child process, to measure its peak memory alone.
READ = """
import sys
from pathlib import Path
from analysis.tables.write import write_tables
write_tables(*sys.argv[1:4], Path("results"))
"""
TABLES = ("params", "tags", "metrics", "latest_metrics")


def bench_tables(trials: int) -> Report:
    """Fill a temporary store with copies of one trial. Measure the seconds and the memory for its tables."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        fill_store(uri, Path(folder), trials)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", READ, uri, "many", "stripes"], cwd=folder, check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - started
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    row = {"work": "read the records and write the tables", "seconds": seconds, "process_peak_gb": peak_gb}
    return make_report("tables", [row], {"trials": trials, "metrics": METRICS})


def fill_store(uri: str, folder: Path, trials: int) -> None:
    """Write a finished sweep 'many' on 'stripes' with rows of ten seeds.

    The tracker writes one trial. The others are copies of its rows in the database.
    """
    config = compose_config(["task=stripes"])
    tracker = Tracker(uri, "stripes", folder.as_uri(), store_lock(uri, folder))
    run_id = tracker.create_trial("key 0", "row 0, seed 0")
    described = {f"tag{number}": "as long as such a tag mostly is" for number in range(20)}
    tracker.log_settings(run_id, keyed_fields(config), {row_tag("many"): "row 0", **described})
    record = TrialRun(uri, run_id, folder)
    names = [last_metric("fd_small_conv"), best_metric("fd_small_conv"), SECONDS_PER_ITERATION, PEAK_LIVE_GB]
    names += [last_metric(f"score{number}") for number in range(METRICS - len(names) - 1)]  # and progress/step
    record.log(1536, {})
    record.finish({name: float(number) for number, name in enumerate(names)}, {})
    rows: list[SweepRow] = []
    for number, first in enumerate(range(0, trials, SEEDS)):
        keys = {seed: f"key {first + seed}" for seed in range(min(SEEDS, trials - first))}
        settings = {"model.temperature": 0.01 * (number + 1)}
        rows.append(SweepRow(f"row {number}", "", keys, settings))
    version, axes = str(RESULT_VERSION), ("model.temperature",)
    tracker.record_sweep(Manifest("many", "How fast?", "stripes", "row 0", tuple(rows), version, axes))
    _copy(uri.removeprefix("sqlite:///"), run_id, trials)


def _copy(database: str, run_id: str, trials: int) -> None:
    """Copy the rows of the run in each table for each further trial."""
    with sqlite3.connect(database) as store:
        ids = [(f"{number:032x}", number) for number in range(1, trials)]
        for table in ("runs", *TABLES):
            columns = [column for _, column, *_ in store.execute(f"PRAGMA table_info({table})")]
            taken = ", ".join("?" if column == "run_uuid" else column for column in columns)
            # All names are those of the benchmark's own database.
            copy = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table} WHERE run_uuid = '{run_id}'"  # noqa: S608
            store.executemany(copy, [(copied,) for copied, _ in ids])
        named = [(f"key {number}", copied, Tag.TRIAL_KEY) for copied, number in ids]
        named += [(f"row {number // SEEDS}", copied, row_tag("many")) for copied, number in ids]
        store.executemany("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", named)
