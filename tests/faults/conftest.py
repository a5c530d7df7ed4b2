from pathlib import Path

import pytest
from faults import SWEEP, Results, finish, results


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the sweep, and without a store."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/pair.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of the sweep that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "sweeps").mkdir()
        (folder / "sweeps/pair.yaml").write_text(SWEEP)
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert finish(f"sqlite:///{folder / 'mlflow.db'}") == 1
        return results()
