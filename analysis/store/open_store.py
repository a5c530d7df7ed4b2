"""Open an MLflow store for reading, in the quickest way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.records.address import without_password
from analysis.records.schema import RecordsError
from analysis.store.database import database_file, is_missing, refused_schema, sqlite_address
from analysis.store.moved_store import follow_move
from analysis.store.sqlite_reader import SQLiteReader, is_readable
from analysis.store.stored_runs import StoreReader


def default_store() -> str:
    """Return MLFLOW_TRACKING_URI, or without it the database mlflow.db of the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(Path("mlflow.db").absolute())


def open_store(uri: str) -> StoreReader:
    """Return a reader of a store that exists. MLflow would create a missing database.

    Raises RecordsError if there is none, if MLflow cannot use it, or if a server does not answer as MLflow does.
    """
    if is_missing(uri):
        raise RecordsError(f"{uri}: no such database. The first trial creates it, or name another store.")
    file = database_file(uri)
    quick = file is not None and is_readable(file)
    if fault := (("" if quick else refused_schema(uri)) or follow_move(uri)):
        raise RecordsError(f"{fault}.")
    if file and quick and (reader := SQLiteReader(file)).artifacts_are_local():
        return reader
    from analysis.store.mlflow_client import ClientReader  # MLflow, which takes seconds to import
    from analysis.store.server_answer import server_fault

    if uri.startswith("http") and (fault := ". ".join(filter(None, server_fault(uri)))):
        raise RecordsError(f"{fault}.")
    return ClientReader(uri)


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """Raise RecordsError, in one line, for any fault of MLflow, the database or the network in the body."""
    try:
        yield
    except RecordsError:
        raise
    except Exception as error:  # of MLflow, the database or the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordsError(f"{without_password(uri)}: the MLflow store cannot be read ({reason})") from None
