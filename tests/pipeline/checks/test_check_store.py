"""Each fault of an MLflow store is provoked."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from servers import silence, website

from analysis.store import server_answer
from analysis.store.database import known_revisions
from pipeline.checks.services import check_tracking


def with_revision(store: Path, revision: str) -> str:
    with closing(sqlite3.connect(store)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
    return f"sqlite:///{store}"


def test_a_store_of_this_mlflow_answers_and_stays_as_it_is(project: Path) -> None:
    before = (project / "mlflow.db").read_bytes()
    found = check_tracking(f"sqlite:///{project / 'mlflow.db'}")
    assert found.status == "ok" and "its schema fits MLflow" in found.found
    assert (project / "mlflow.db").read_bytes() == before


def test_a_store_that_is_not_there_will_be_created(tmp_path: Path) -> None:
    found = check_tracking(f"sqlite:///{tmp_path / 'new.db'}")
    assert found.status == "ok" and "it will be created" in found.found
    (tmp_path / "empty.db").touch()
    assert "it will be created" in check_tracking(f"sqlite:///{tmp_path / 'empty.db'}").found
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


def test_a_database_without_tables_gets_them(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empty.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
        database.execute("DROP TABLE films")
    found = check_tracking(f"sqlite:///{tmp_path / 'empty.db'}")
    assert found.status == "ok" and "its schema fits" in found.found


def test_a_store_of_an_older_mlflow_is_a_fault_with_the_command_to_upgrade_it(project: Path) -> None:
    scripts = known_revisions()
    newest = scripts.get_revision("head")
    assert newest is not None and isinstance(newest.down_revision, str)
    uri = with_revision(project / "mlflow.db", newest.down_revision)
    found = check_tracking(uri)
    assert found.status == "fault" and f"has the schema {newest.down_revision} of an older MLflow" in found.found
    assert found.mend.endswith(f".venv/bin/mlflow db upgrade {uri}") and "Copy the database" in found.mend


def test_a_store_of_a_newer_mlflow_is_a_fault(project: Path) -> None:
    found = check_tracking(with_revision(project / "mlflow.db", "0123456789ab"))
    assert found.status == "fault" and "0123456789ab" in found.found and "Install the newer MLflow" in found.mend


def test_a_database_of_another_program_is_a_fault(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    assert "a database of another program" in check_tracking(f"sqlite:///{tmp_path / 'other.db'}").found
    (tmp_path / "text.db").write_text("no database, but long enough to be read as one " * 99)
    torn = check_tracking(f"sqlite:///{tmp_path / 'text.db'}")
    assert torn.status == "fault" and "file is not a database" in torn.found


def test_a_store_of_an_unknown_kind_is_a_fault() -> None:
    found = check_tracking("nonsense://me:secret@there")
    assert found.status == "fault" and "secret" not in str(found)


def test_a_server_that_is_away_or_is_none_of_mlflows_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")
    assert "(Connection refused)" in check_tracking("http://127.0.0.1:9").found
    with website() as port:
        assert check_tracking(f"http://127.0.0.1:{port}").status == "fault"
    monkeypatch.setattr(server_answer, "ANSWER_SECONDS", 1.0)
    with silence() as port:
        assert check_tracking(f"http://127.0.0.1:{port}").status == "fault"
    assert os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") == before


@pytest.mark.slow
def test_a_server_of_mlflow_answers(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{project}/mlflow.db"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(120):
            if check_tracking(f"http://127.0.0.1:{port}").status == "ok":
                break
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(1)
        else:
            pytest.fail("the server never answered")
    finally:
        server.terminate()
        server.wait()
