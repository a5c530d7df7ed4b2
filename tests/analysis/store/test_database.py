"""Which databases MLflow must not open."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from analysis.records.schema import RecordsError
from analysis.store.database import (
    database_address,
    database_file,
    is_missing,
    refused_schema,
    schema_fault,
    sqlite_address,
)


def test_only_sqlite_has_a_file_and_only_a_file_can_be_missing(tmp_path: Path) -> None:
    assert database_file(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    assert database_file("postgresql://db/ml") is None
    (tmp_path / "empty.db").touch()
    (tmp_path / "full.db").write_text("full")
    stores = {"sqlite:///{}/none.db": True, "sqlite:///{}/empty.db": True, "sqlite:///{}/full.db": False}
    stores |= {"sqlite:///{}": False, "http://host/{}": False}
    assert {store: is_missing(store.format(tmp_path)) for store in stores} == stores


@pytest.mark.parametrize("name", ["a#b", "100%", "a'b", 'a"b', "a:b@c", "a\\b", "[x]", "-x", "a;b&c=d,e$f", "ünï x"])
def test_a_database_opens_in_a_folder_of_any_name(tmp_path: Path, template_store: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    file = Path(shutil.copy(template_store, tmp_path / name / "mlflow.db"))
    address = sqlite_address(file)
    assert database_file(address) == file
    assert make_url(address).database == str(file)
    assert schema_fault(address) == ("", "")


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a%3fb"])
def test_a_folder_that_mlflow_would_read_as_another_one_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "mlflow.db"
    assert make_url(f"sqlite:///{file}").database != str(file)
    for use in (lambda: sqlite_address(file), lambda: database_file(f"sqlite:///{file}")):
        with pytest.raises(RecordsError, match="Rename the folder, or set MLFLOW_TRACKING_URI") as refused:
            use()
        assert str(file) in str(refused.value)


def test_what_mlflow_creates_or_asks_over_the_network_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    for store in (f"sqlite:///{tmp_path}/none.db", f"sqlite:///{tmp_path}/empty.db", "http://127.0.0.1:9"):
        assert refused_schema(store) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


def test_looking_at_a_database_creates_none(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        schema_fault(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mssql"])
def test_a_database_that_is_no_file_needs_a_server(scheme: str) -> None:
    assert f"Serve it: just server --store {scheme}://127.0.0.1:9/ml" in refused_schema(f"{scheme}://127.0.0.1:9/ml")


def test_postgresql_is_opened_with_the_driver_that_the_project_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_address("postgresql://me@db/ml") == "postgresql+psycopg://me@db/ml"
    assert make_url(database_address("postgresql://me@db/ml")).get_dialect().driver == "psycopg"
    for other in ("postgresql+psycopg2://db/ml", "sqlite:////a/mlflow.db"):
        assert database_address(other) == other
    monkeypatch.setenv("CUT_ABLATION_STORE", "postgresql://me:s3cret@db/ml")
    assert database_address("postgresql://db/ml") == "postgresql+psycopg://me:s3cret@db/ml"


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    (tmp_path / "text.db").write_text("no database, but long enough to be read as one " * 99)
    for name, said in (("other.db", "a database of another program"), ("text.db", "file is not a database")):
        found = refused_schema(f"sqlite:///{tmp_path / name}")
        assert name in found and said in found and "Set tracking.uri" in found and "\n" not in found
