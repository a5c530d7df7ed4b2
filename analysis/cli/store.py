"""The MLflow store that commands read."""

import os
from pathlib import Path


def default_store() -> str:
    """Return MLFLOW_TRACKING_URI, or without it the database mlflow.db of the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
