"""Open an MLflow store for reading, in the quickest way."""

from analysis.records.database import database_file, is_missing, refused_schema
from analysis.records.moved_store import follow_move
from analysis.records.schema import RecordsError
from analysis.records.sqlite_reader import SQLiteReader, is_readable
from analysis.records.stored_runs import StoreReader


def open_store(uri: str) -> StoreReader:
    """Return a reader of a store that exists. MLflow would create a missing database.

    Raises RecordsError if there is none, or if MLflow cannot use it.
    """
    if is_missing(uri):
        raise RecordsError(f"{uri}: no such database. The first trial creates it, or name another store.")
    file = database_file(uri)
    quick = file is not None and is_readable(file)
    if fault := (("" if quick else refused_schema(uri)) or follow_move(uri)):
        raise RecordsError(f"{fault}.")
    if file and quick and (reader := SQLiteReader(file)).artifacts_are_local():
        return reader
    from analysis.records.mlflow_client import ClientReader  # MLflow, which takes seconds to import

    return ClientReader(uri)
