"""Check that an MLflow store answers and that its schema fits this MLflow. Only read it: MLflow could change it."""

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
# Limits of a request to a server. The defaults of MLflow are two minutes and seven retries.
REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def check_store(uri: str) -> Check:
    """Read the schema of a database, or ask a server for an experiment."""
    shown = without_password(uri)
    if uri.startswith(SQLITE) and not _has_content(Path(uri.removeprefix(SQLITE))):
        return Check(NAME, "ok", f"{shown} does not exist yet; it will be created")
    try:
        if uri.startswith(DATABASES):
            return judge_revision(uri, *_revision(uri))
        _ask_for_an_experiment(uri)
    except Exception as error:  # databases, the network and MLflow raise many types
        why = first_line(error).replace(uri, shown).partition(". ")[0]
        return Check(NAME, "fault", f"{shown} does not answer ({why})", ANOTHER)
    return Check(NAME, "ok", f"{shown} answers")


def judge_revision(uri: str, tables: int, revision: str | None) -> Check:
    """Compare the schema revision of a database with that of this MLflow. tables: the number of its tables."""
    shown, scripts = without_password(uri), _scripts()
    newest = scripts.get_current_head()
    if revision == newest:
        return Check(NAME, "ok", f"{shown} answers; its schema fits MLflow {VERSION}")
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
            f"{shown} has the schema {revision} of a newer MLflow; MLflow {VERSION} does not know it",
            "Install the newer MLflow, or set tracking.uri to another store",
        )
    return Check(
        NAME,
        "fault",
        f"{shown} has the schema {revision} of an older MLflow; MLflow {VERSION} needs {newest}",
        f"Copy the database first, then run: .venv/bin/mlflow db upgrade {shown}",
    )


def without_password(uri: str) -> str:
    """Return the address with its password hidden."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:…@{host}"))


def _has_content(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _revision(uri: str) -> tuple[int, str | None]:
    """Return the number of tables of a database, and the revision of its schema. Open it read-only."""
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
    """Return the schema revisions that this MLflow knows."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(str(db_migrations.__file__)).parent))
    return ScriptDirectory.from_config(config)


def _ask_for_an_experiment(uri: str) -> None:
    with environment(REQUEST_LIMITS):
        MlflowClient(uri).search_experiments(max_results=1)
