"""The database of an MLflow store: its file, and whether its schema fits this MLflow. Only reads.

MLflow itself would change the tables of a database of another version, and fail half-way.
"""

import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from analysis.records.address import with_password, without_password
from analysis.records.schema import RecordsError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

# The functions below import SQLAlchemy, Alembic and MLflow, which take seconds.
SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
ANOTHER = "Set tracking.uri or MLFLOW_TRACKING_URI to a store that answers"

# The first use of a database creates its tables, which Alembic would report. Errors of the database are raised as well
# as logged, with a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("alembic").setLevel(logging.WARNING)


def sqlite_address(file: Path | str) -> str:
    """Return the address of a SQLite store in this file.

    Raises RecordsError for a path that MLflow would read as an address of another file: in an address, `?` begins a
    query, and `%20` is a space. Written as an address needs it, MLflow would make a stray folder of the written name.
    """
    path = str(file)
    if "?" in path or unquote(path) != path:
        raise RecordsError(
            f"{path}: MLflow reads ? and % in the path of a database as parts of an address. Rename the folder, or set "
            "MLFLOW_TRACKING_URI to a file elsewhere, as in sqlite:////home/me/mlflow.db."
        )
    return f"{SQLITE}{path}"


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for a server or another database. Raises as `sqlite_address`."""
    if not uri.startswith(SQLITE):
        return None
    file = Path(uri.removeprefix(SQLITE))
    sqlite_address(file)
    return file


def absolute_store(uri: str) -> str:
    """Return the address of a store with an absolute path, since trials run in folders of their own."""
    file = database_file(uri)
    return sqlite_address(os.path.abspath(file)) if file else uri  # noqa: PTH100 (without `..`)


def database_address(uri: str) -> str:
    """Return a database's address with the driver that the project installs: psycopg 3, and not SQLAlchemy's default.

    The password is added if it is in the environment.
    """
    whole = with_password(uri)
    return f"postgresql+psycopg://{whole.removeprefix(POSTGRESQL)}" if whole.startswith(POSTGRESQL) else whole


def is_missing(uri: str) -> bool:
    """Return whether the store is a SQLite database that does not exist yet, or is an empty file."""
    file = database_file(uri)
    return file is not None and (not file.exists() or (file.is_file() and file.stat().st_size == 0))


def schema_fault(uri: str) -> tuple[str, str]:
    """Return what is wrong with the schema of a database, and what to do; two empty texts if MLflow can use it.

    Raises SQLAlchemy's errors if the database cannot be read.
    """
    import sqlalchemy
    from alembic.runtime.migration import MigrationContext
    from alembic.util import CommandError
    from mlflow.version import VERSION

    shown, file = without_password(uri), database_file(uri)
    if file:
        # So that it is not changed.
        read_only = f"{file.absolute().as_uri()}?mode=ro"
        engine = sqlalchemy.create_engine("sqlite://", creator=lambda: sqlite3.connect(read_only, uri=True))
    else:
        engine = sqlalchemy.create_engine(database_address(uri))
    try:
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        is_empty = not sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    scripts = known_revisions()
    newest = scripts.get_current_head()
    if revision == newest or is_empty:
        return "", ""
    if revision is None:
        return f"{shown} is a database of another program: it has no MLflow schema", ANOTHER
    found = f"{shown} has the schema {revision} of"
    try:
        scripts.get_revision(revision)
    except CommandError:
        advice = "Install the newer MLflow, or set tracking.uri to another store"
        return f"{found} a newer MLflow; MLflow {VERSION} does not know it", advice
    advice = f"Copy the database first, then run: .venv/bin/mlflow db upgrade {shown}"
    return f"{found} an older MLflow; MLflow {VERSION} needs {newest}", advice


def without_server(uri: str) -> tuple[str, str]:
    """Return what is wrong with a database that is no file, and what to do.

    Opened without a server, MLflow would record paths of this machine's files in it, which others could not read.
    """
    shown = without_password(uri)
    advice = f"Serve it: just server --store {shown}. Then set MLFLOW_TRACKING_URI to the address that this prints"
    return f"{shown} is a database, which has no place for files", advice


def refused_schema(uri: str) -> str:
    """Return in one line why MLflow must not open a database; '' if it may, and for servers.

    A database that is locked, or not recovered from a crash yet, may be opened: MLflow waits, and recovers it.
    """
    if not uri.startswith(DATABASES) or is_missing(uri):
        return ""
    if not uri.startswith(SQLITE):
        return ". ".join(without_server(uri))
    from sqlalchemy.exc import DatabaseError, OperationalError

    try:
        return ". ".join(filter(None, schema_fault(uri)))
    except OperationalError:
        return ""
    except DatabaseError as error:
        return f"{without_password(uri)} cannot be read ({error.orig}). {ANOTHER}"


def known_revisions() -> "ScriptDirectory":
    """Return the schema revisions that this MLflow knows."""
    from alembic.script import ScriptDirectory
    from mlflow.store import db_migrations

    return ScriptDirectory(str(Path(str(db_migrations.__file__)).parent))
