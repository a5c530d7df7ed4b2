"""Working folders of tests."""

import shutil
from pathlib import Path

import pytest

from analysis.store.moved_store import follow_move


def copy_project(source: Path, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Copy a working folder and go there. Its store follows, as that of a folder that a user has copied."""
    shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
    assert follow_move(f"sqlite:///{folder / 'mlflow.db'}") == ""
    patch.chdir(folder)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # A plan asks whether weights can be downloaded. Tests leave this machine alone.
    patch.setenv("https_proxy", "http://127.0.0.1:9")
    return folder
