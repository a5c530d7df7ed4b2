"""Check that an MLflow store answers and that its schema fits this MLflow. Only read it: MLflow could change it."""

import os
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import sqlalchemy
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.store import db_migrations
from mlflow.version import VERSION

from analysis.records.address import with_password, without_password
from analysis.records.mlflow_client import MlflowClient
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
    shown, file = without_password(uri), Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and (not file.exists() or (file.is_file() and file.stat().st_size == 0)):
        return Check(NAME, "ok", f"{shown} does not exist yet; it will be created")
    try:
        if uri.startswith(DATABASES):
            return _check_database(uri, shown)
        with environment(REQUEST_LIMITS):
            MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:  # databases, the network and MLflow raise many types
        why = first_line(error).partition(". ")[0]
        return Check(NAME, "fault", f"{shown} does not answer ({why})", ANOTHER)
    return Check(NAME, "ok", f"{shown} answers")


def _check_database(uri: str, shown: str) -> Check:
    """Compare the revision of the schema of a database with that of this MLflow. Open a file read-only."""
    if uri.startswith(SQLITE):
        uri = f"sqlite:///file:{uri.removeprefix(SQLITE)}?mode=ro&uri=true"
    engine = sqlalchemy.create_engine(with_password(uri))
    try:
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        is_empty = not sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    scripts = known_revisions()
    newest = scripts.get_current_head()
    if revision == newest:
        return Check(NAME, "ok", f"{shown} answers; its schema fits MLflow {VERSION}")
    if revision is None and is_empty:
        return Check(NAME, "ok", f"{shown} is empty; its tables will be created")
    if revision is None:
        return Check(NAME, "fault", f"{shown} is a database of another program: it has no MLflow schema", ANOTHER)
    found = f"{shown} has the schema {revision} of"
    try:
        scripts.get_revision(revision)
    except CommandError:
        advice = "Install the newer MLflow, or set tracking.uri to another store"
        return Check(NAME, "fault", f"{found} a newer MLflow; MLflow {VERSION} does not know it", advice)
    advice = f"Copy the database first, then run: .venv/bin/mlflow db upgrade {shown}"
    return Check(NAME, "fault", f"{found} an older MLflow; MLflow {VERSION} needs {newest}", advice)


def known_revisions() -> ScriptDirectory:
    """Return the schema revisions that this MLflow knows."""
    return ScriptDirectory(str(Path(str(db_migrations.__file__)).parent))
