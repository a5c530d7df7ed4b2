"""Check that an MLflow store answers and that its schema fits this MLflow. Only read it: MLflow could change it."""

from mlflow.version import VERSION

from analysis.records.address import without_password
from analysis.store.database import ANOTHER, DATABASES, is_missing, schema_fault
from analysis.store.mlflow_client import MlflowClient
from pipeline.checks.machine import Check
from pipeline.environment import environment
from pipeline.errors import first_line

NAME = "tracking store"
# Limits of a request to a server, for a check that shall not take long.
REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def check_store(uri: str) -> Check:
    """Read the schema of a database, or ask a server for an experiment."""
    shown = without_password(uri)
    if is_missing(uri):
        return Check(NAME, "ok", f"{shown} does not exist yet; it will be created")
    try:
        if uri.startswith(DATABASES):
            found, advice = schema_fault(uri)
            if found:
                return Check(NAME, "fault", found, advice)
            return Check(NAME, "ok", f"{shown} answers; its schema fits MLflow {VERSION}")
        with environment(REQUEST_LIMITS):
            MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:  # databases, the network and MLflow raise many types
        why = first_line(error).partition(". ")[0]
        return Check(NAME, "fault", f"{shown} does not answer ({why})", ANOTHER)
    return Check(NAME, "ok", f"{shown} answers")
