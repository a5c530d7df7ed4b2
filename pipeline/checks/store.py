"""Check that an MLflow store answers and that its schema fits this MLflow. Only read it: MLflow could change it."""

from mlflow.version import VERSION

from analysis.records.address import without_password
from analysis.store.database import ANOTHER, DATABASES, SQLITE, is_missing, schema_fault, without_server
from analysis.store.server_answer import server_fault
from pipeline.checks.check import Check
from pipeline.errors import first_line

NAME = "tracking store"


def check_store(uri: str) -> Check:
    """Read the schema of a SQLite file, or ask a server for an experiment."""
    shown = without_password(uri)
    if is_missing(uri):
        return Check(NAME, "ok", f"{shown} does not exist yet; it will be created")
    try:
        if not uri.startswith(SQLITE):
            found, mend = without_server(uri) if uri.startswith(DATABASES) else server_fault(uri)
            return Check(NAME, "fault", found, mend) if found else Check(NAME, "ok", f"{shown} answers")
        found, mend = schema_fault(uri)
    except Exception as error:  # databases and MLflow raise many types
        why = first_line(error).partition(". ")[0]
        return Check(NAME, "fault", f"{shown} does not answer ({why})", ANOTHER)
    if found:
        return Check(NAME, "fault", found, mend)
    return Check(NAME, "ok", f"{shown} answers; its schema fits MLflow {VERSION}")
