"""just server as users start it: whom it serves, and that nothing of it is left, however it ends."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from faults import descendants, until
from served import ROOT, answers, free_port, served
from test_keeper import until_none_lives

from analysis.store.mlflow_client import MlflowClient
from pipeline.server.process import SETTINGS
from pipeline.tracking.ui_views import saved_views

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def command(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_server_ends_with_its_command_and_frees_its_port(tmp_path: Path, ending: signal.Signals) -> None:
    with served(tmp_path / "here") as server:
        assert f"export MLFLOW_TRACKING_URI={server.uri}" in server.said
        family = [server.process.pid, *descendants(server.process.pid)]
        assert len(family) >= 3, "the command, the keeper, the server"
        assert answers(server.port)
        os.kill(server.process.pid, ending)
        code = server.process.wait(30)
        until_none_lives(family, 15)
        assert not answers(server.port)
    assert code == (0 if ending != signal.SIGKILL else -signal.SIGKILL)
    # The same command serves the same records.
    assert (tmp_path / "here/server/mlflow.db").exists()


def test_files_go_through_the_server_and_the_interface_shows_its_address(tmp_path: Path) -> None:
    with served(tmp_path / "here") as server:
        client = MlflowClient(server.uri)
        experiment = client.create_experiment("stripes")
        run = client.create_run(experiment)
        assert run.info.artifact_uri is not None and run.info.artifact_uri.startswith("mlflow-artifacts:/")
        client.log_text(run.info.run_id, "what a trial says", "said.txt")
        (stored,) = (tmp_path / "here/server/artifacts").rglob("said.txt")
        assert stored.read_text() == "what a trial says"
        for tag, view in saved_views("mine", [], "fid", 1).items():
            client.set_experiment_tag(experiment, tag, view)
        (tmp_path / "client").mkdir()
        shown = command(tmp_path / "client", "ui", MLFLOW_TRACKING_URI=f"http://me:s3cret@127.0.0.1:{server.port}/")
        assert shown.returncode == 0, shown.stderr
        first, second = shown.stdout.splitlines()
        assert first == f"MLflow: {server.uri}"
        assert second.startswith(
            f"mine on stripes: {server.uri}/#/experiments/{experiment}/runs?viewStateShareKey=mine"
        )


def test_a_name_that_was_not_allowed_is_refused_and_an_allowed_one_is_served(tmp_path: Path) -> None:
    with served(tmp_path / "here", "--host=0.0.0.0", "--allowed-hosts=gpu01") as server:
        assert f"MLflow: http://gpu01:{server.port}" in server.said
        assert "Whoever reaches this address can read, change and delete" in (tmp_path / "here/errors.txt").read_text()
        asked = f"{server.uri}/api/2.0/mlflow/experiments/search?max_results=1"
        for host in (f"gpu01:{server.port}", "gpu01", f"127.0.0.1:{server.port}"):
            with urllib.request.urlopen(urllib.request.Request(asked, headers={"Host": host})) as answer:
                assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(asked, headers={"Host": f"other:{server.port}"}))
        # As a browser asks from a page of this server, and from a page of another.
        posted = f"{server.uri}/ajax-api/2.0/mlflow/runs/search"
        for origin, allowed in ((f"http://gpu01:{server.port}", True), ("http://evil.example", False)):
            headers = {"Origin": origin, "Content-Type": "application/json"}
            request = urllib.request.Request(posted, b'{"experiment_ids": ["0"]}', headers)
            if allowed:
                with urllib.request.urlopen(request) as answer:
                    assert answer.status == 200
            else:
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(request)


def test_a_server_that_refuses_its_name_is_named_before_any_trial(tmp_path: Path) -> None:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        pytest.skip(f"this machine does not find itself by its name {name}")
    (tmp_path / "client/sweeps").mkdir(parents=True)
    (tmp_path / "client/sweeps/smoke.yaml").write_text((ROOT / "sweeps/smoke.yaml").read_text())
    with served(tmp_path / "here", "--host=0.0.0.0", "--allowed-hosts=gpu01") as server:
        direct = {"MLFLOW_TRACKING_URI": f"http://{name}:{server.port}", "no_proxy": name}
        refused = command(tmp_path / "client", "sweep", "smoke", **direct)
    assert refused.returncode == 2
    assert f"just server --allowed-hosts '{name}:*'" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "client/trials").exists()


@pytest.mark.skipif(importlib.util.find_spec("flask_wtf") is None, reason="MLflow's --auth needs Flask-WTF")
def test_only_who_signs_in_is_served_and_the_password_is_in_no_command_line(tmp_path: Path) -> None:
    with served(tmp_path / "here", "--auth") as server:
        password = (tmp_path / "here/server/admin_password").read_text().strip()
        assert f'MLFLOW_TRACKING_PASSWORD="$(cat {tmp_path}/here/server/admin_password)"' in server.said
        for pid in (server.process.pid, *descendants(server.process.pid)):
            assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert password not in (tmp_path / "here/logs/server.log").read_text() + server.said
        (tmp_path / "client").mkdir()
        address = f"http://admin:{password}@127.0.0.1:{server.port}"
        wrong = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "a wrong password"}
        for variables, fact in (
            ({"MLFLOW_TRACKING_URI": server.uri}, "asks for a login. Set MLFLOW_TRACKING_USERNAME"),
            ({"MLFLOW_TRACKING_URI": server.uri, **wrong}, "does not know the user admin"),
            ({"MLFLOW_TRACKING_URI": address}, "has no sweep 'smoke'"),
        ):
            said = command(tmp_path / "client", "status", "smoke", **variables)
            assert said.returncode == 2 and fact in said.stderr and password not in said.stderr
    # The account is there after a restart.
    with served(tmp_path / "here", "--auth", port=server.port):
        assert "has no sweep" in command(tmp_path / "client", "status", "smoke", MLFLOW_TRACKING_URI=address).stderr


def test_files_may_be_in_s3_and_clients_need_no_key_of_it(tmp_path: Path) -> None:
    from s3_server import BUCKET, LOGIN, s3_server

    pytest.importorskip("boto3", reason="boto3 is not installed")
    with s3_server(tmp_path / "s3") as s3:
        variables = {**LOGIN, "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}"}
        with served(tmp_path / "here", f"--artifacts=s3://{BUCKET}/ml", **variables) as server:
            client = MlflowClient(server.uri)
            run = client.create_run("0").info.run_id
            client.log_text(run, "what a trial says", "said.txt")
            path = client.download_artifacts(run, "said.txt", str(tmp_path))
            assert Path(path).read_text() == "what a trial says"
    assert list((tmp_path / "s3").rglob("said.txt")) and not list((tmp_path / "here/server").rglob("said.txt"))


def test_a_server_behind_tls_is_used_and_one_with_an_unknown_certificate_is_named(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    tls = f"--ssl-keyfile {tmp_path}/key.pem --ssl-certfile {tmp_path}/cert.pem"
    options = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options, "--uvicorn-opts", tls],
        env={**os.environ, **SETTINGS},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(port), seconds=120)
        uri = f"https://127.0.0.1:{port}"
        unknown = command(tmp_path, "ui", MLFLOW_TRACKING_URI=uri)
        assert unknown.returncode == 2 and "certificate verify failed" in unknown.stderr
        known = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(tmp_path / "cert.pem")}
        shown = command(tmp_path, "ui", MLFLOW_TRACKING_URI=f"https://me:s3cret@127.0.0.1:{port}", **known)
        assert (shown.returncode, shown.stdout) == (0, f"MLflow: {uri}\n"), shown.stderr
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
