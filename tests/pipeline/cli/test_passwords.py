"""The password in the address of a store, or of a message, reaches its server and nothing else."""

import base64
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hook_server import hook_server
from mini_sweep import SWEEP
from store_server import store_server

from pipeline.__main__ import main as pipeline
from pipeline.command_line import hide_password
from pipeline.config.sweep_file import load_sweep
from pipeline.errors import UserError
from pipeline.orchestration.planner import plan_sweep

ROOT = Path(__file__).parents[3]
SECRET = "s3cretPassword"


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "CUT_ABLATION_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str]]]:
    """A server that keeps the header with the login of each request, and knows no path."""
    logins: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            logins.append(self.headers.get("Authorization", ""))
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], logins
        server.shutdown()


@pytest.mark.parametrize("by_variable", [False, True])
def test_the_password_is_sent_to_the_store_and_printed_nowhere(
    project: Path,
    listener: tuple[int, list[str]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
) -> None:
    port, logins = listener
    address = f"http://me:{SECRET}@127.0.0.1:{port}"
    if by_variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    argument = [] if by_variable else [f"tracking.uri={address}"]
    assert pipeline(["status", "smoke", *argument]) == 2
    assert logins[-1] == f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"
    printed = "".join(capfd.readouterr())
    assert f"http://127.0.0.1:{port}" in printed
    assert SECRET not in printed
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_the_password_of_one_store_is_not_sent_to_another(
    project: Path, listener: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, logins = listener
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:9")
    assert pipeline(["status", "smoke", f"tracking.uri=http://127.0.0.1:{port}"]) == 2
    assert set(logins) == {""}


def test_a_recorded_address_without_its_password_finds_it_in_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@host:5000")
    arguments, variables = hide_password(["drop", "mini", "CUT", "tracking.uri=http://host:5000"])
    assert arguments[-1] == "tracking.uri=http://host:5000"
    assert variables["MLFLOW_TRACKING_PASSWORD"] == SECRET
    assert variables["MLFLOW_TRACKING_URI"] == "http://host:5000"


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_an_override_keeps_its_quotes(quote: str) -> None:
    text = f"tracking.uri={quote}postgresql://me:{SECRET}@db/ml{quote}"
    arguments, variables = hide_password(["plan", "smoke", text])
    assert arguments == ["plan", "smoke", f"tracking.uri={quote}postgresql://db/ml{quote}"]
    assert variables == {"CUT_ABLATION_STORE": f"postgresql://me:{SECRET}@db/ml"}


@pytest.mark.parametrize(
    "command", [["plan", "smoke"], ["plan", "smoke", "--json"], ["sweep", "smoke"], ["doctor"], ["train"]]
)
def test_a_database_that_does_not_answer_is_named_without_its_password(
    project: Path, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    # No driver is installed, so nothing is sent.
    few = ("data.train_count=6", "data.test_count=6")
    assert pipeline([*command, *few, f"tracking.uri=postgresql://me:{SECRET}@127.0.0.1:9/ml"]) in (1, 2)
    printed = "".join(capfd.readouterr())
    assert "postgresql://127.0.0.1:9/ml" in printed
    assert SECRET not in printed


def test_a_sweep_file_with_a_password_is_refused(project: Path) -> None:
    (project / "sweeps/mini.yaml").write_text(
        SWEEP.replace("model=cut,", f"model=cut, 'tracking.uri=postgresql://me:{SECRET}@db/ml',")
    )
    with pytest.raises(UserError, match=r"mini\.yaml: tracking\.uri holds a password.*MLFLOW_TRACKING_URI") as refused:
        plan_sweep(load_sweep("mini"), [])
    assert SECRET not in str(refused.value)


@pytest.mark.slow
def test_no_file_that_a_sweep_writes_holds_the_password(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mini.yaml").write_text(SWEEP)
    printed: list[str] = []

    def run(*arguments: str, **variables: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **folders, **variables}
        command = [sys.executable, "-m", "pipeline", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "here", env=environment)
        printed.append(done.stdout + done.stderr)
        assert done.returncode == 0, printed[-1]

    # A short path, for Ray's sockets.
    with (
        tempfile.TemporaryDirectory(prefix="p") as temporary,
        store_server(tmp_path / "store") as port,
        hook_server(500) as hook,
    ):
        folders = {"TMPDIR": temporary, "RAY_TMPDIR": temporary, "HOME": str(tmp_path / "home")}
        address = f"http://me:{SECRET}@127.0.0.1:{port}"
        run("plan", "mini.yaml", "--json", f"tracking.uri={address}")
        notify = f"notify=http://me:{SECRET}@127.0.0.1:{hook.port}/{SECRET}"
        run("sweep", "mini.yaml", f"tracking.uri={address}", notify, "tracking.also=[tensorboard,wandb]")
        run("status", "mini", MLFLOW_TRACKING_URI=address)
        run("tables", "mini", MLFLOW_TRACKING_URI=address)
        run("doctor", f"tracking.uri={address}")
        run("drop", "mini.yaml", "CUT", "--yes", MLFLOW_TRACKING_URI=address)
        run(
            "train",
            *SWEEP.split("[")[1].split("]")[0].replace("\n", "").replace(" ", "").split(","),
            f"tracking.uri={address}",
        )
        files = [file for folder in (tmp_path, Path(temporary)) for file in folder.rglob("*") if file.is_file()]
        content = {file: file.read_bytes() for file in files}
    texts = (SECRET.encode(), base64.b64encode(f"me:{SECRET}".encode()))
    assert [file for file, found in content.items() if any(text in found for text in texts)] == []
    assert not any(SECRET in text for text in printed)
    # The search would have found it: these hold the address.
    holding = {file.name for file, found in content.items() if f"127.0.0.1:{port}".encode() in found}
    assert {"index.html", "sweep.json"} <= holding
    # What the server did not take is named once, here and in the log, by its host.
    (ended,) = hook.got
    assert (ended["event"], ended["done"], ended["failed"], ended["best_row"]) == ("ended", 1, 0, "CUT")
    assert Path(ended["report"]).is_file() and hook.paths == [f"/{SECRET}"]
    said = f"1 of 1 messages could not be delivered to http://127.0.0.1:{hook.port} (answered with status 500)."
    assert printed[1].count(said) == 1
    assert (tmp_path / "here/logs/mini-stripes.log").read_text().count(said) == 1
    assert "mlflow.db" in {file.name for file in files}
    assert any(file.is_relative_to(temporary) for file in files), "Ray wrote its session elsewhere"
