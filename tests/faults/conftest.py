import random
from pathlib import Path

import pytest
from faults import SWEEP, Results, finish, results


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of all random moments, printed so that they can be tried again with --seed."""
    given = request.config.getoption("--seed")
    return given if given is not None else random.SystemRandom().randrange(10**6)


@pytest.fixture
def drawn(request: pytest.FixtureRequest, seed: int) -> None:
    """Skip a case by chance, unless many moments are asked for: each case takes most of a minute."""
    if request.config.getoption("--moments") <= 3 and random.Random(f"{seed} {request.node.name}").random() < 2 / 3:
        pytest.skip("not drawn this time; --moments=20 runs all")


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
