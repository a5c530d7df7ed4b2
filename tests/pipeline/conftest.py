"""A tiny trial, and a store that is made once a session and copied for each test."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import compose_config
from pipeline.settings import Config
from pipeline.tracking import Tracker

TINY = (
    "task=stripes",
    "data.train_count=6",
    "data.test_count=6",
    "data.size=32",
    "model.generator.channels=4",
    "model.discriminator.channels=4",
    "train.constant_epochs=1",
    "train.decay_epochs=1",
    "train.log_every_steps=4",
    "compute.device=cpu",
)


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to lay out an empty database."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Tracker(f"sqlite:///{path}", "template", path.parent.as_uri())
    return path


@pytest.fixture
def project(tmp_path: Path, template_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a store of its own, and the committed sweeps."""
    shutil.copy(template_store, tmp_path / "mlflow.db")
    shutil.copytree(Path(__file__).parents[2] / "sweeps", tmp_path / "sweeps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def tiny_overrides() -> tuple[str, ...]:
    return TINY


@pytest.fixture
def tiny() -> Callable[..., Config]:
    return lambda *overrides: compose_config([*TINY, *overrides])
