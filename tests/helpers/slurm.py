"""A real Slurm of two nodes on this machine, with munge: each node has an address of its own and one core."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from faults import descendants, until

NODES = {"n1": "127.0.0.11", "n2": "127.0.0.12"}
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.11)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldDebug=info
JobRequeue=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.11 Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.12 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The commands of a Slurm that runs."""

    def __init__(self, configuration: Path) -> None:
        self.variables = {"SLURM_CONF": str(configuration)}

    def call(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        """Run one of Slurm's commands. Return what it printed."""
        environment = {**os.environ, **self.variables, **variables}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """The state of a job: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT …"""
        shown = self.call("scontrol", "show", "job", "--oneliner", job)
        return shown.partition("JobState=")[2].split()[0]

    def wait(self, job: str, *states: str, seconds: float = 240) -> str:
        """Wait until a job is in one of these states, and none of its processes is left."""
        until(lambda: self.state(job) in states, seconds, every=0.3)
        return self.state(job)


@contextmanager
def slurm_cluster() -> Iterator[Slurm]:
    """Run Slurm for the body. Skips the test if Debian's packages slurm-wlm and munge are not installed."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    # Short, since the paths of sockets are.
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp", ignore_cleanup_errors=True) as name, ExitStack() as held:
        folder = Path(name)
        configuration = _write_configuration(folder)
        slurm = Slurm(configuration)
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        held.enter_context(_daemon("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge))
        until((folder / "munge.socket").exists)
        held.enter_context(_daemon("slurmctld", "-D", **slurm.variables))
        for node in NODES:
            held.enter_context(_daemon("slurmd", "-D", "-N", node, **slurm.variables))
        until(lambda: slurm.call("sinfo", "--noheader", "--format=%T") == "idle")
        try:
            yield slurm
        finally:
            # The daemon of a job is no child of slurmd.
            slurm.call("scancel", "--state=PENDING", f"--user={os.getuid()}")
            slurm.call("scancel", f"--user={os.getuid()}")
            until(lambda: slurm.call("squeue", "--noheader") == "")


def _write_configuration(folder: Path) -> Path:
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    configuration = folder / "slurm.conf"
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, user=user, ports=_free_ports(3)))
    return configuration


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _daemon(program: str, *options: str, **variables: str) -> Iterator[None]:
    """Run a daemon in the foreground for the body. End it and all that it has started, by their ids."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    assert found
    started = subprocess.Popen(
        [found, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **variables},
    )
    try:
        yield
    finally:
        family = [started.pid, *descendants(started.pid)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.3)
        started.wait()
