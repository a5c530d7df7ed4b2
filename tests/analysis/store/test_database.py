"""Which databases MLflow must not open."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import NoSuchModuleError, OperationalError

from analysis.store.database import database_file, is_missing, refused_schema, schema_fault


def test_only_sqlite_has_a_file_and_only_a_file_can_be_missing(tmp_path: Path) -> None:
    assert database_file(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    assert database_file("postgresql://db/ml") is None
    (tmp_path / "empty.db").touch()
    (tmp_path / "full.db").write_text("full")
    stores = {"sqlite:///{}/none.db": True, "sqlite:///{}/empty.db": True, "sqlite:///{}/full.db": False}
    stores |= {"sqlite:///{}": False, "http://host/{}": False}
    assert {store: is_missing(store.format(tmp_path)) for store in stores} == stores


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
def test_every_kind_of_database_is_looked_at_before_mlflow_opens_it(scheme: str) -> None:
    with pytest.raises(NoSuchModuleError):
        refused_schema(f"{scheme}+nonsense://127.0.0.1:9/ml")


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    (tmp_path / "text.db").write_text("no database, but long enough to be read as one " * 99)
    for name, said in (("other.db", "a database of another program"), ("text.db", "file is not a database")):
        found = refused_schema(f"sqlite:///{tmp_path / name}")
        assert name in found and said in found and "Set tracking.uri" in found and "\n" not in found
