"""A sweep on a tracking server, on SQLite and on PostgreSQL, ends in the table of the embedded store."""

import subprocess
import time
from pathlib import Path

import pytest
from faults import SWEEP, Results, assert_as_undisturbed, assert_nothing_is_left, command, finish, results, start, until
from postgres import PASSWORD, postgres
from served import served

from analysis.store.frames import scores_frame, trials_frame
from pipeline.__main__ import main

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("drawn")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sweep, without a store."""
    folder = tmp_path / "here"
    (folder / "sweeps").mkdir(parents=True)
    (folder / "sweeps/pair.yaml").write_text(SWEEP)
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return folder


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """The folder and the results of the sweep with its records in a SQLite file."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "sweeps").mkdir()
        (folder / "sweeps/pair.yaml").write_text(SWEEP)
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert finish(f"sqlite:///{folder / 'mlflow.db'}") == 1
        return folder, results()


def test_a_server_on_sqlite_gives_the_same_table(here: Path, embedded: tuple[Path, Results]) -> None:
    with served(here.parent / "server") as server:
        sweep = start("sweep", "pair", MLFLOW_TRACKING_URI=server.uri)
        said, errors = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, said + errors
        assert f"MLflow: {server.uri}/#/experiments/" in said
        assert_as_undisturbed(results(), embedded[1])
        assert_nothing_is_left(server.uri, [sweep])
        assert f'href="{server.uri}/#/experiments/' in (here / "results/pair/stripes/index.html").read_text()
    assert not (here / "mlflow.db").exists() and not (here / "mlartifacts").exists()


def test_a_server_on_postgresql_that_is_restarted_in_the_middle_gives_the_same_table(
    here: Path, embedded: tuple[Path, Results]
) -> None:
    with postgres() as database, served(here.parent / "server", f"--store={database.uri}") as server:
        assert PASSWORD not in server.said
        sweep = start("sweep", "pair", MLFLOW_TRACKING_URI=server.uri)
        until(lambda: list(here.glob("trials/*/last.pt")), seconds=300)
        database.stop()
        until(lambda: list(here.glob("trials/*/unsent.json")), seconds=100)
        time.sleep(3)
        database.start()
        said, errors = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, said + errors
        assert "Traceback" not in said + errors
        assert_as_undisturbed(results(), embedded[1])
        assert_nothing_is_left(server.uri, [sweep])


def test_after_migrate_a_sweep_on_postgresql_finds_every_trial_done(
    embedded: tuple[Path, Results], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = embedded
    monkeypatch.chdir(folder)
    source = f"sqlite:///{folder / 'mlflow.db'}"
    with postgres() as database, served(here.parent / "server", f"--store={database.uri}") as server:
        for new in (3, 0):
            assert main(["migrate", source, server.uri]) == 0
            said = capsys.readouterr().out
            assert f"stripes: {new} runs copied." in said
            assert "pair on stripes: 2 trials, 12 evaluations, equal in both stores" in said
        # Two trials and the sweep itself. Files come through the server.
        assert len(list((here.parent / "server").rglob("sweep.json"))) == 1
        again = subprocess.run(
            command("sweep", "pair", f"tracking.uri={server.uri}"), capture_output=True, text=True, timeout=200
        )
        assert again.returncode == 0, again.stderr
        assert "nothing to train (2 done)" in again.stdout
        assert_as_undisturbed(results(), before)
        for frame in (trials_frame, scores_frame):
            one, other = (
                frame(store, "pair").drop(columns="run_id", errors="ignore") for store in (source, server.uri)
            )
            assert one.equals(other)
