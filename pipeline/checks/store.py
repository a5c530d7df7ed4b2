"""Whether an MLflow store answers and fits this MLflow. It is only read: MLflow itself might change the database."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import sqlalchemy
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow import MlflowClient
from mlflow.store import db_migrations
from mlflow.version import VERSION

from pipeline.checks.machine import Check
from pipeline.environment import environment
from pipeline.errors import first_line

NAME = "tracking store"
SQLITE = "sqlite:///"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
ANOTHER = "Set tracking.uri or MLFLOW_TRACKING_URI to a store that answers"
# What a request to a server may take; MLflow's own defaults are two minutes, and seven retries.
REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def check_store(uri: str) -> Check:
    """Ask a store for its schema, or, where it is a server, for an experiment."""
    shown = without_password(uri)
    if uri.startswith(SQLITE) and not _holds_something(Path(uri.removeprefix(SQLITE))):
        return Check(NAME, "ok", f"{shown} does not exist yet; it will be created")
    try:
        if uri.startswith(DATABASES):
            return judge_revision(uri, *_revision(uri))
        _ask_for_an_experiment(uri)
    except Exception as error:  # the database's, the network's and MLflow's own kinds, many of them
        why = first_line(error).replace(uri, shown).partition(". ")[0]
        return Check(NAME, "fault", f"{shown} does not answer ({why})", ANOTHER)
    return Check(NAME, "ok", f"{shown} answers")


def judge_revision(uri: str, tables: int, revision: str | None) -> Check:
    """What the revision of a database's schema means for this MLflow. tables: how many the database has."""
    shown, scripts = without_password(uri), _scripts()
    newest = scripts.get_current_head()
    if revision == newest:
        return Check(NAME, "ok", f"{shown} answers; its schema is that of MLflow {VERSION}")
    if revision is None:
        if tables:
            return Check(NAME, "fault", f"{shown} is a database of another program: it has no MLflow schema", ANOTHER)
        return Check(NAME, "ok", f"{shown} is empty; its tables will be created")
    try:
        scripts.get_revision(revision)
    except CommandError:
        return Check(
            NAME,
            "fault",
            f"{shown} has the schema {revision}, which MLflow {VERSION} does not know; a newer MLflow wrote it",
            "Install that MLflow, or set tracking.uri to another store",
        )
    return Check(
        NAME,
        "fault",
        f"{shown} has the schema {revision} of an older MLflow; MLflow {VERSION} needs {newest}",
        f"Make a copy of the database first, then run: .venv/bin/mlflow db upgrade {shown}",
    )


def without_password(uri: str) -> str:
    """The address as it may be printed."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:…@{place}"))


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _revision(uri: str) -> tuple[int, str | None]:
    """How many tables a database has, and the revision of its schema, read without a change to it."""
    if uri.startswith(SQLITE):
        uri = f"sqlite:///file:{uri.removeprefix(SQLITE)}?mode=ro&uri=true"
    engine = sqlalchemy.create_engine(uri)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
        if "alembic_version" not in tables:
            return len(tables), None
        with engine.connect() as connection:
            return len(tables), connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        engine.dispose()


def _scripts() -> ScriptDirectory:
    """The revisions that this MLflow knows."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(str(db_migrations.__file__)).parent))
    return ScriptDirectory.from_config(config)


def _ask_for_an_experiment(uri: str) -> None:
    with environment(REQUEST_LIMITS):
        MlflowClient(uri).search_experiments(max_results=1)
