"""Stores filled by hand, once a session: MLflow takes seconds to lay out an empty database."""

import shutil

import pytest
from filled_store import fill
from mlflow import MlflowClient


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One as it is now, and one as records were before settings were in them, every score higher by 5."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()
    found: dict[str, str] = {}
    for name, shift in (("now", 0.0), ("older", 5.0)):
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(empty, folder / "mlflow.db")
        found[name] = fill(folder, shift=shift, older=name == "older")
    return found
