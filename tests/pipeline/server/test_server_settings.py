"""What just server refuses before it starts, and what it tells MLflow."""

import shutil
import socket
from pathlib import Path

import pytest
from filled_store import fill

from pipeline.__main__ import main
from pipeline.command_line import parse
from pipeline.errors import UserError
from pipeline.server import settings
from pipeline.server.settings import ServerSettings, is_loopback, server_settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(text: str = "") -> ServerSettings:
    given = parse(["server", *text.split()])
    return server_settings(given.host, given.port, given.store, given.artifacts, given.allowed_hosts, auth=given.auth)


def test_without_options_records_and_files_are_in_a_folder_of_the_server_and_only_this_machine_is_served(
    here: Path,
) -> None:
    found = asked()
    assert found.store == f"sqlite:///{here}/server/mlflow.db" and found.artifacts == f"{here}/server/artifacts"
    assert found.address == "http://127.0.0.1:5000"
    assert "--allowed-hosts" not in found.options() and "--app-name" not in found.options()


def test_only_loopback_addresses_are_of_this_machine_alone() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.0.0.11", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.3", "gpu01", "")] == [False] * 5


@pytest.mark.parametrize("host", ["0.0.0.0", "gpu01", "10.1.2.3", "::"])
def test_an_address_that_others_reach_needs_the_names_by_which_they_call_it(host: str) -> None:
    with pytest.raises(UserError, match=r"403, Invalid Host header.*--allowed-hosts=NAME"):
        asked(f"--host {host}")
    with pytest.raises(UserError, match="any web page"):
        asked(f"--host {host} --allowed-hosts=*")


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ("--host 0.0.0.0 --allowed-hosts gpu01", "http://gpu01:5000"),
        ("--host 0.0.0.0 --allowed-hosts gpu01:*,gpu01.lab --port 5001", "http://gpu01:5001"),
        ("--host 10.1.2.3 --allowed-hosts gpu01", "http://10.1.2.3:5000"),
        ("--host ::1", "http://[::1]:5000"),
        ("--host 0.0.0.0 --allowed-hosts *.lab", f"http://{socket.gethostname()}:5000"),
    ],
)
def test_the_address_for_clients_is_one_that_they_can_call(options: str, address: str) -> None:
    assert asked(options).address == address


def test_a_named_host_may_call_with_any_port_and_so_may_its_pages_and_this_machine() -> None:
    options = asked("--host 0.0.0.0 --allowed-hosts gpu01").options()
    hosts = options[options.index("--allowed-hosts") + 1].split(",")
    assert {"gpu01", "gpu01:*", "localhost:*", "127.0.0.1:*"} <= {*hosts} and "*" not in hosts
    origins = options[options.index("--cors-allowed-origins") + 1].split(",")
    assert {"http://gpu01:*", "https://gpu01"} <= {*origins}


@pytest.mark.parametrize("uri", ["mysql://host/ml", "http://host:5000", "server.db"])
def test_another_kind_of_store_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"must be sqlite:///FILE or postgresql:"):
        asked(f"--store {uri}")


@pytest.mark.parametrize("uri", ["postgresql://me:s3cret@host/ml", "postgresql://host/ml?user=me&password=s3cret"])
def test_a_password_on_the_command_line_is_refused_and_not_printed(uri: str) -> None:
    with pytest.raises(UserError, match="PGPASSWORD") as refused:
        asked(f"--store {uri}")
    assert "s3cret" not in str(refused.value)


def test_a_package_that_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    for options, package in (
        ("--store postgresql://127.0.0.1:9/ml", r"pip install 'cut-ablation\[server\]'"),
        ("--auth", "Flask-WTF"),
        ("--artifacts s3://bucket/files", "boto3"),
    ):
        with pytest.raises(UserError, match=package):
            asked(options)


def test_a_database_that_is_away_is_named_in_one_line() -> None:
    pytest.importorskip("psycopg", reason="the extra 'server' is not installed")
    with pytest.raises(UserError, match=r"postgresql://127\.0\.0\.1:9/ml: .*refused") as found:
        asked("--store postgresql://me@127.0.0.1:9/ml")
    assert "\n" not in str(found.value)


def test_the_store_of_a_sweep_without_a_server_is_not_served_since_its_files_are_paths(
    here: Path, template_store: Path
) -> None:
    shutil.copy(template_store, here / "mlflow.db")
    with pytest.raises(UserError, match=rf"just migrate sqlite:///{here}/mlflow\.db ADDRESS"):
        asked(f"--store {fill(here)}")


def test_a_port_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["server", f"--port={taken.getsockname()[1]}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in use" in line and "--port" in line


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_database_without_a_server_is_refused_for_sweeps_and_readers_with_the_mend(
    scheme: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:s3cret@127.0.0.1:9/ml")
    shutil.copytree(Path(__file__).parents[3] / "sweeps", "sweeps")
    for command in ("plan", "status", "tables", "ui"):
        assert main([command, "smoke"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"just server --store {scheme}://127.0.0.1:9/ml" in line and "s3cret" not in line, command


def test_a_server_that_is_away_is_named_before_images_are_looked_for(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    shutil.copytree(Path(__file__).parents[3] / "sweeps", "sweeps")
    assert main(["plan", "smoke", "task=horse2zebra"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: http://127.0.0.1:9: no server answers there (Connection refused)")
    assert not (here / ".cache").exists()
