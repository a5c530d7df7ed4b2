"""Read MLflow's SQLite database without MLflow, whose import takes seconds."""

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from analysis.store.stored_runs import LoggedValue, StoredRun, Tags

# The schema that this file reads, by Alembic's name: that of MLflow 3.17. MLflow itself reads any other.
REVISION = "dc11669786a5"
# How long to wait while another process writes.
SECONDS_TO_WAIT = 20.0

RUNS = """
SELECT run_uuid, status, start_time, end_time FROM runs
WHERE lifecycle_stage = 'active' AND experiment_id IN (SELECT value FROM json_each(:experiments))
AND NOT EXISTS (
    SELECT * FROM json_each(:tags) AS wanted WHERE NOT EXISTS (
        SELECT * FROM tags WHERE tags.run_uuid = runs.run_uuid AND tags.key = wanted.key
        AND (wanted.value IS NULL OR tags.value = wanted.value)
    )
)
ORDER BY start_time DESC, run_uuid LIMIT :most
"""
TAGS = "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN (SELECT value FROM json_each(?))"
PARAMS = "SELECT run_uuid, key, value FROM params WHERE run_uuid IN (SELECT value FROM json_each(?))"
# SQLite has no NaN: MLflow writes 0 and a mark.
METRICS = """
SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics
WHERE run_uuid IN (SELECT value FROM json_each(?))
"""
HISTORIES = """
SELECT run_uuid, step, CASE WHEN is_nan THEN NULL ELSE value END, timestamp FROM metrics
WHERE run_uuid IN (SELECT value FROM json_each(?)) AND key = ?
ORDER BY step, timestamp
"""


def is_readable(file: Path) -> bool:
    """Return whether this is a database of the known schema. The file is not changed."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    except sqlite3.Error:  # of another program, damaged, or not recovered from a crash: MLflow has the message
        return False


class SQLiteReader:
    """A SQLite store of the known schema (`StoreReader`)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def experiments(self) -> dict[str, str]:
        """Return the names of all active experiments by their ids."""
        with closing(self._open()) as database:
            found = database.execute("SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'")
            return {str(number): name for number, name in found}

    def experiment_tags(self, experiment_id: str) -> dict[str, str]:
        """Return the tags of an experiment."""
        query = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        with closing(self._open()) as database:
            return dict(database.execute(query, [int(experiment_id)]).fetchall())

    def experiment(self, name: str) -> tuple[str, bool] | None:
        """Return the id of the experiment of this name, and whether it is deleted; None if there is none."""
        query = "SELECT experiment_id, lifecycle_stage = 'deleted' FROM experiments WHERE name = ?"
        with closing(self._open()) as database:
            found = database.execute(query, [name]).fetchone()
        return (str(found[0]), bool(found[1])) if found else None

    def runs(self, experiment_ids: Sequence[str], tags: Tags, most: int | None = None) -> list[StoredRun]:
        """Return the active runs of these experiments that have these tags; the newest first, at most so many."""
        wanted = {"experiments": json.dumps([int(number) for number in experiment_ids]), "tags": json.dumps(dict(tags))}
        with closing(self._open()) as database:
            database.execute("BEGIN")  # all of one moment
            found = database.execute(RUNS, {**wanted, "most": -1 if most is None else most}).fetchall()
            ids = json.dumps([run_id for run_id, *_ in found])
            tags_of, params_of, metrics_of = (_by_run(database, query, ids) for query in (TAGS, PARAMS, METRICS))
        return [
            StoredRun(run_id, status, start or 0, end or 0, metrics_of[run_id], params_of[run_id], tags_of[run_id])
            for run_id, status, start, end in found
        ]

    def tags(self, run_id: str) -> dict[str, str] | None:
        """Return a run's tags; None if there is no such run."""
        with closing(self._open()) as database:
            found = database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run_id]).fetchall()
            exists = database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", [run_id]).fetchall()
        return dict(found) if exists else None

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[LoggedValue]]:
        """Return everything that was logged of a metric in each of these runs, by steps; empty where it was not."""
        with closing(self._open()) as database:
            found = database.execute(HISTORIES, [json.dumps(list(run_ids)), metric]).fetchall()
        histories: dict[str, list[LoggedValue]] = {run_id: [] for run_id in run_ids}
        for run_id, step, value, time in found:
            histories[run_id].append(LoggedValue(step, math.nan if value is None else value, time))
        return histories

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """Return the paths of a run's artifacts in a folder."""
        root = self._artifact_root(run_id)
        return sorted(path.relative_to(root).as_posix() for path in (root / folder).glob("*"))

    def artifact(self, run_id: str, path: str) -> bytes:
        """Return the content of a run's artifact."""
        return (self._artifact_root(run_id) / path).read_bytes()

    def artifacts_are_local(self) -> bool:
        """Return whether the artifacts of all runs are files of this machine."""
        with closing(self._open()) as database:
            found = database.execute("SELECT artifact_location FROM experiments").fetchall()
        return all(urlsplit(location).scheme in ("", "file") for (location,) in found)

    def _artifact_root(self, run_id: str) -> Path:
        with closing(self._open()) as database:
            (location,) = database.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", [run_id]).fetchone()
        address = urlsplit(location)
        return Path(unquote(address.path) if address.scheme else location)

    def _open(self) -> sqlite3.Connection:
        # Not read-only: SQLite must be able to recover a database whose writer was killed. It creates no file.
        return sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=rw", uri=True, timeout=SECONDS_TO_WAIT)


def _by_run(database: sqlite3.Connection, query: str, ids: str) -> defaultdict[str, dict[str, Any]]:
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for run_id, key, value in database.execute(query, [ids]):
        found[run_id][key] = math.nan if value is None else value
    return found
