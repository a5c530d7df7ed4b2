"""just ui: which address a sweep's view has, which port the server takes, and that nothing of it is left."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from store_server import store_server

from analysis.store.mlflow_client import MlflowClient
from pipeline.__main__ import main
from pipeline.command_line import parse
from pipeline.errors import UserError
from pipeline.server.process import LOOPBACK
from pipeline.tracking.ui_views import saved_views, shared_views


def test_of_the_two_views_of_a_sweep_the_first_is_listed() -> None:
    tags = {**saved_views("a", [], "fid", 1), **saved_views("b-trials", [], "fid", 1), "other": "tag"}
    assert shared_views(tags) == ["a", "b-trials"]


def test_a_number_alone_is_the_port() -> None:
    assert (parse(["ui", "5001"]).name, parse(["ui", "5001"]).port) == (None, 5001)
    assert (parse(["ui", "mine", "--port=5002"]).name, parse(["ui", "mine", "--port=5002"]).port) == ("mine", 5002)
    for port in ("0", "65536", "9" * 5000):
        with pytest.raises(UserError, match="port"):
            parse(["ui", port])


def test_without_a_store_no_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert main(["ui"]) == 2
    assert "no such database" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_server_shows_the_views_takes_a_free_port_and_is_gone_after_ctrl_c(
    tmp_path: Path,
    template_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (tmp_path / "mlflow.db").write_bytes(template_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("stripes")
    for tag, view in saved_views("mine", [], "fid", 1).items():
        client.set_experiment_tag(experiment, tag, view)
    assert main(["ui", "other"]) == 2
    assert "no view of sweep 'other'. It has: mine." in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "pipeline", "ui", "mine", f"--port={port}"]
        variables = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
        paths = {"PYTHONPATH": str(Path(__file__).parents[3])}
        process = subprocess.Popen(
            command, env={**variables, **paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stderr is not None
        try:
            server, view, last = (process.stdout.readline().strip() for _ in range(3))
            address = server.removeprefix("MLflow: ")
            assert address != f"http://{LOOPBACK}:{port}"
            path = f"#/experiments/{experiment}/runs?viewStateShareKey=mine&"
            assert view.startswith(f"mine on stripes: {address}/{path}")
            assert last.endswith("Log: logs/ui.log")
            with urllib.request.urlopen(f"{address}/health") as answer:
                assert answer.status == 200
        finally:  # also if an assertion fails
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate()
    assert (process.returncode, said) == (0, "")
    assert errors.splitlines() == ["Starting MLflow's server …", f"Port {port} is in use. Using {address[-5:]}."][::-1]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/health")
    assert "Application startup complete" in (tmp_path / "logs/ui.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("display", [":99", ""])
def test_records_on_a_server_are_shown_there_and_none_is_started_and_no_browser_is_needed(
    tmp_path: Path,
    template_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    display: str,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "mlflow.db").write_bytes(template_store.read_bytes())
    with store_server(tmp_path) as port:
        server = f"http://{LOOPBACK}:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server}/")
        client = MlflowClient(server)
        experiment = client.create_experiment("stripes")
        for tag, view in saved_views("mine", [], "fid", 1).items():
            client.set_experiment_tag(experiment, tag, view)
        # Where no browser is installed.
        monkeypatch.setenv("PATH", str(tmp_path / "here"))
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.delenv("BROWSER", raising=False)
        assert main(["ui", "mine"]) == 0
        first, second = capsys.readouterr().out.splitlines()[-2:]
        assert first == f"MLflow: {server}"
        assert second.startswith(f"mine on stripes: {server}/#/experiments/{experiment}/runs?viewStateShareKey=mine&")
        assert main(["ui", "other"]) == 2
        assert f"{server}/ has no view of sweep 'other'. It has: mine." in capsys.readouterr().err
    assert list((tmp_path / "here").iterdir()) == []
