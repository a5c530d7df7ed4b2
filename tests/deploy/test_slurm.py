"""deploy/slurm.sh on a real Slurm of two nodes: it trains, saves when it is ended, and resumes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import SWEEP, Results, assert_as_undisturbed, command, results, trials, until
from mlflow.entities import Run
from slurm import Slurm, slurm_cluster
from store_server import store_server

from analysis.records.names import cost_metric

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with slurm_cluster() as started:
        yield started


@pytest.fixture(scope="module")
def on_one_machine(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of the sweep without Slurm."""
    folder = tmp_path_factory.mktemp("alone")
    _write_sweep(folder)
    environment = {**_surroundings(), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    subprocess.run(command("sweep", "pair"), cwd=folder, env=environment, check=True, timeout=300)
    return results(folder / "results/pair/stripes")


class Project:
    """A folder from which the sweep is submitted, and its tracking server."""

    def __init__(self, slurm: Slurm, folder: Path, port: int) -> None:
        self.slurm, self.folder, self.uri = slurm, folder, f"http://127.0.0.1:{port}"

    def submit(self, *options: str) -> str:
        script = str(ROOT / "deploy/slurm.sh")
        variables = {**_surroundings(), "MLFLOW_TRACKING_URI": self.uri}
        return self.slurm.call("sbatch", "--parsable", *options, script, "pair", cwd=self.folder, **variables)

    def until_both_train(self, job: str) -> None:
        """Wait until both trials have a checkpoint."""
        saved = f"{self.folder}/trials"
        until(lambda: len(list(Path(saved).glob("*/last.pt"))) == 2 or self.slurm.state(job) in ENDED, 240)
        assert self.slurm.state(job) == "RUNNING", self.said(job)

    def until_over(self, job: str) -> None:
        """Wait until Slurm has ended all processes of a job."""
        until(lambda: "EndTime=Unknown" not in self.slurm.call("scontrol", "show", "job", job))
        until(lambda: self.slurm.call("squeue", "--noheader", f"--job={job}") == "", 60, every=0.3)

    def start_now(self, job: str) -> None:
        """Let a job that is queued again start without Slurm's pause of two minutes."""
        until(lambda: self.slurm.call("squeue", "--noheader", "--format=%T", f"--job={job}") == "PENDING", every=0.3)
        self.slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    def said(self, job: str) -> str:
        return (self.folder / f"slurm-{job}.txt").read_text()

    def runs(self) -> list[Run]:
        return trials(self.uri)

    def assert_nothing_was_lost(self, job: str, like: Results) -> None:
        """The sweep has ended, its digits are those of one machine, and no step was trained twice."""
        assert self.slurm.state(job) == "COMPLETED", self.said(job)
        assert_as_undisturbed(results(self.folder / "results/pair/stripes"), like)
        repeated = [run.data.metrics.get(cost_metric("steps_repeated"), 0.0) for run in self.runs()]
        assert repeated == [0.0, 0.0], self.said(job)
        assert not list((self.folder / ".cache").glob("slurm-*")), "the token is left"


@pytest.fixture
def project(slurm: Slurm, tmp_path: Path) -> Iterator[Project]:
    _write_sweep(tmp_path)
    records = tmp_path / "server"
    records.mkdir()
    with store_server(records) as port:
        yield Project(slurm, tmp_path, port)


def _write_sweep(folder: Path) -> None:
    (folder / "sweeps").mkdir()
    # Longer, so that both nodes train when the job is ended.
    (folder / "sweeps/pair.yaml").write_text(SWEEP.replace("constant_epochs=5", "constant_epochs=11"))


def _surroundings() -> dict[str, str]:
    """What an activated environment has."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Other tests import Ray, which keeps a cluster of one machine on loopback by this variable.
    several = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    return {**os.environ, **several, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.usefixtures("drawn")
def test_a_sweep_in_slurm_trains_on_both_nodes_and_its_table_is_that_of_one_machine(
    project: Project, on_one_machine: Results
) -> None:
    job = project.submit()
    project.slurm.wait(job, *ENDED)
    project.assert_nothing_was_lost(job, on_one_machine)
    said = project.said(job)
    assert "node 127.0.0.11" in said and "127.0.0.12" in said, said


@pytest.mark.usefixtures("drawn")
def test_scancel_lets_trials_of_both_nodes_save_and_the_same_job_resumes(
    project: Project, on_one_machine: Results
) -> None:
    job = project.submit()
    project.until_both_train(job)
    time.sleep(1.5)  # into the next epoch
    project.slurm.call("scancel", job)
    project.slurm.wait(job, "CANCELLED")
    project.until_over(job)
    assert "Interrupted" in project.said(job), project.said(job)
    again = project.submit()
    project.slurm.wait(again, *ENDED)
    project.assert_nothing_was_lost(again, on_one_machine)


@pytest.mark.usefixtures("drawn")
def test_a_job_that_is_queued_again_resumes(project: Project, on_one_machine: Results) -> None:
    job = project.submit()
    project.until_both_train(job)
    time.sleep(1.5)
    project.slurm.call("scontrol", "requeue", job)
    project.slurm.wait(job, "PENDING")
    project.start_now(job)
    project.slurm.wait(job, *ENDED)
    project.assert_nothing_was_lost(job, on_one_machine)


@pytest.mark.usefixtures("drawn")
def test_before_its_time_limit_a_job_saves_and_queues_itself_again(project: Project, on_one_machine: Results) -> None:
    job = project.submit()
    project.until_both_train(job)
    time.sleep(1.5)
    # As Slurm does at --signal=B:TERM@120. It looks once in 30 s, and at limits of whole minutes.
    project.slurm.call("scancel", "--batch", "--signal=TERM", job)
    project.slurm.wait(job, "PENDING")
    project.start_now(job)
    project.slurm.wait(job, *ENDED)
    project.assert_nothing_was_lost(job, on_one_machine)
