"""just submit: what is refused before anything is sent, and a job on a real Ray cluster."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import HEAD, TOKEN, free_port, ray_nodes
from faults import SWEEP, command, trials, until
from mini_sweep import SWEEP as MINI
from servers import silence, website
from store_server import store_server

from pipeline.__main__ import main
from pipeline.cluster.job_submission import dashboard_address
from pipeline.errors import UserError

SERVER = "http://127.0.0.1:5000"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def lasting(folder: Path) -> list[str]:
    """The settings that a job needs."""
    return [f"paths.{name}={folder / name}" for name in ("trials", "results", "cache")]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["submit", *arguments]) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    return errors.strip().splitlines()


@pytest.mark.parametrize("name", ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"])
def test_the_address_is_that_of_rays_dashboard(name: str) -> None:
    assert dashboard_address({name: "http://head:8265/"}) == "http://head:8265"
    for wrong in ("head:6379", "auto", "ray://head:10001", "http://", "http://head:port"):
        with pytest.raises(UserError, match=r"RAY_API_SERVER_ADDRESS=http://HOST:8265"):
            dashboard_address({name: wrong})


@pytest.mark.usefixtures("project")
def test_a_job_without_a_cluster_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = refused(capsys, "smoke")
    assert "RAY_API_SERVER_ADDRESS" in line


@pytest.mark.usefixtures("project")
def test_what_a_job_would_not_find_is_refused_in_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    lines = refused(capsys, "smoke")
    assert [line.split()[1] for line in lines[:3]] == ["paths.trials", "paths.results", "paths.cache"]
    assert "sqlite" in lines[3] and "just server" in lines[3]
    lines = refused(
        capsys, "ablation_negatives", "task=folder", "data.root=photos", "data.name=mine", "metric.weights=w.pth"
    )
    assert lines[0].startswith("error: data.root is 'photos'") and lines[1].startswith("error: metric.weights")


def test_own_code_that_does_not_travel_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    (project / "mine.py").write_text("def sharp(fakes, batch):\n    return fakes.mean()\n")
    (line,) = refused(
        capsys, "ablation_negatives", "model.code=mine.py", "model.extra_loss=sharp", f"tracking.uri={SERVER}",
        *lasting(project),
    )  # fmt: skip
    assert "model.code" in line and "mine.py" in line


def test_a_dashboard_that_does_not_answer_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["smoke", f"tracking.uri={SERVER}", *lasting(project)]
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    (line,) = refused(capsys, *given)
    assert "http://127.0.0.1:9 does not answer" in line
    with website() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{port}")
        line = refused(capsys, *given)[-1]  # the server prints its requests
        assert f"http://127.0.0.1:{port}" in line and "Is it Ray's" in line
    monkeypatch.setattr("pipeline.cluster.job_submission.PROBE_SECONDS", 0.5)
    with silence() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{port}")
        (line,) = refused(capsys, *given)
        assert f"http://127.0.0.1:{port} does not answer" in line


def test_without_the_extra_one_line_names_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cluster.job_submission.PACKAGES", ("no_such_package",))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    (line,) = refused(capsys, "smoke", f"tracking.uri={SERVER}", *lasting(project))
    assert "ray[default]" in line


@pytest.mark.usefixtures("project")
def test_a_name_and_an_id_are_not_given_together(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["smoke", "--status=1"], ["--status=1", "--logs=1"]):
        (line,) = refused(capsys, *wrong)
        assert "--status" in line


class Cluster:
    """A cluster with a dashboard, and a working folder from which sweeps are submitted."""

    def __init__(self, folder: Path, address: str, store: str) -> None:
        self.folder, self.store = folder, store
        self.variables = {
            "RAY_API_SERVER_ADDRESS": address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "MLFLOW_TRACKING_URI": store.replace("://", "://me:secret-word@"),
        }

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("submit", *arguments),
            capture_output=True,
            text=True,
            timeout=600,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.variables, **variables},
        )

    def submit(self, name: str) -> str:
        """Submit a sweep; return the id of its job."""
        done = self.run(name, *lasting(self.folder / "shared"), "compute.cpus_per_trial=1")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.partition(":")[0]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    port = free_port(HEAD)
    dashboard = ("--include-dashboard=true", f"--dashboard-host={HEAD}", f"--dashboard-port={port}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch, store_server(folder) as store:
        patch.setenv("PATH", path)
        with ray_nodes("127.0.0.3", head=dashboard) as _:
            yield Cluster(folder, f"http://{HEAD}:{port}", f"http://127.0.0.1:{store}")


@pytest.mark.cluster
@pytest.mark.usefixtures("drawn")
def test_a_submitted_sweep_ends_with_its_table_and_a_stopped_one_saves(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mini.yaml").write_text(MINI)
    (tmp_path / "mine/pair.yaml").write_text(SWEEP)
    with cluster(tmp_path) as ray:
        for variables in ({"RAY_AUTH_TOKEN": "8" * 64}, {"RAY_AUTH_MODE": "disabled"}):
            refusal = ray.run("mine/mini.yaml", *lasting(tmp_path), **variables)
            assert refusal.returncode == 2, refusal.stdout
            (line,) = refusal.stderr.strip().splitlines()
            assert "RAY_AUTH_TOKEN" in line
        job = ray.submit("mine/mini.yaml")
        said = ray.run("--logs", job)
        assert said.returncode == 0 and "Report: " in said.stdout, said.stdout + said.stderr
        assert "SUCCEEDED" in ray.run("--status", job).stdout
        assert "| CUT " in (tmp_path / "shared/results/mini/stripes/table.md").read_text()
        assert [run.info.status for run in trials(ray.store)] == ["FINISHED"]
        # The login is in the environment of the job alone.
        assert "secret-word" not in said.stdout + ray.run("--status", job).stdout

        job = ray.submit("mine/pair.yaml")
        # The first is that of the sweep before.
        until(lambda: len(list(tmp_path.glob("shared/trials/*/last.pt"))) > 1 or "FAILED" in status(ray, job), 400, 2)
        assert ray.run("--stop", job).returncode == 0
        until(lambda: "STOPPED" in status(ray, job), every=1)
        said = ray.run("--logs", job).stdout
        assert "Interrupted. Run the same command to resume." in said, said

        (line,) = ray.run("--status", "raysubmit_none").stderr.strip().splitlines()
        assert "no job raysubmit_none" in line


def status(ray: Cluster, job: str) -> str:
    return ray.run("--status", job).stdout
