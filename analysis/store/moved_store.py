"""A SQLite store whose folder was moved or copied. MLflow records absolute paths of files, which then name the old one.

The default experiment names the folder in which the database was created, so a store that was moved is known by itself.
A store that was created away from the files of its runs, or moved away from them, is no such store.
"""

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analysis.records.names import Tag
from analysis.store.database import database_file, is_missing

DEFAULT = "/mlruns/0"
LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
# Another writer needs milliseconds.
LOCK_SECONDS = 20.0


def follow_move(uri: str) -> str:
    """Let the records of a moved or copied SQLite store name the files in its folder. Other stores stay as they are.

    Return in one line why that cannot be; '' if the store can be used.
    """
    file = database_file(uri)
    if file is None or is_missing(uri):
        return ""
    here = file.absolute().parent
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as database:
            before = _folder_of_records(database)
            if before is None or before == here or _is_same(before / file.name, file):
                return ""
            folders = _folders_of_sweeps(database, before)
    except sqlite3.OperationalError:
        return ""  # of a locked or an empty database; MLflow waits, or says what is wrong
    for name in sorted(folders):
        if (here / name).exists():
            continue
        if (before / name).exists() and not (before / file.name).exists():
            return ""  # only the database was moved
        command = f"cp -r {shlex.quote(str(before / name))} {shlex.quote(str(here))}/"
        return f"{file} was moved or copied from {before} without the folder {name}, which it needs: {command}"
    try:
        _rewrite(file, before, here)
    except sqlite3.OperationalError as error:
        return f"{file} was moved from {before}, and its records cannot be changed to name {here} ({error})"
    return ""


def _folder_of_records(database: sqlite3.Connection) -> Path | None:
    """Return the folder that held the database when its records were written; None if that is not known."""
    found = database.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    if found is None or not str(found[0]).startswith("file:///") or not str(found[0]).endswith(DEFAULT):
        return None
    return Path(unquote(urlsplit(found[0].removesuffix(DEFAULT)).path))


def _folders_of_sweeps(database: sqlite3.Connection, before: Path) -> set[str]:
    """Return the folders within the earlier one that hold the files of sweeps. Every sweep has files."""
    prefix = f"{before.as_uri()}/"
    query = "SELECT artifact_uri FROM runs JOIN tags USING (run_uuid) WHERE key = ? AND value = 'sweep'"
    found = [str(uri) for (uri,) in database.execute(query, (Tag.KIND,))]
    return {unquote(uri.removeprefix(prefix).partition("/")[0]) for uri in found if uri.startswith(prefix)}


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths are one file, as through a link."""
    return one.exists() and one.samefile(other)


def _rewrite(file: Path, before: Path, here: Path) -> None:
    """Replace the earlier folder in all records, in one transaction. Another process may have done it meanwhile."""
    with closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        old, new = f"{before.as_uri()}/", f"{here.as_uri()}/"
        for table, column in LOCATIONS:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (new, len(old) + 1, len(old), old),
            )
        database.execute("COMMIT")
