"""NVIDIA's Multi-Process Service (MPS), with which kernels of several processes run on one GPU at the same time.

CUDA looks for the daemon when a process first uses it, in the pipe folder that the environment names.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.config.compute import ComputeConfig
from pipeline.environment import environment
from pipeline.errors import UserError

CONTROL = "nvidia-cuda-mps-control"
PIPE_FOLDER, LOG_FOLDER = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
# NVIDIA's default. The daemon removes its pid file when it ends; its socket stays.
DEFAULT_PIPES, PID_FILE = "/tmp/nvidia-mps", "nvidia-cuda-mps-control.pid"  # noqa: S108 (only looked at)
# Paths of Unix sockets are limited to 107 bytes, and TMPDIR may be long.
SHORT_PARENT = "/tmp"  # noqa: S108 (a folder of one's own is made in it)
# How long the daemon may take to start or to end.
LIMIT_SECONDS = 20.0


def mps_available() -> bool:
    """Return whether the daemon is installed."""
    return shutil.which(CONTROL) is not None


def mps_runs() -> bool:
    """Return whether a process of this environment would find a running daemon.

    A daemon of another container is not seen, since its process is not.
    """
    return _daemon_pid(Path(os.environ.get(PIPE_FOLDER) or DEFAULT_PIPES)) is not None


def expects_mps(compute: ComputeConfig, device: str, *, packed: bool) -> bool:
    """Return whether a sweep would run its trials under MPS."""
    return device == "cuda" and (mps_runs() or (compute.mps == "auto" and packed and mps_available()))


@contextmanager
def mps_daemon() -> Iterator[Mapping[str, str]]:
    """Run a daemon during the body, in a private folder. Yield the variables by which CUDA finds it.

    Raises UserError if the daemon does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="mps-", dir=SHORT_PARENT))
    pipes, logs = folder / "pipe", folder / "log"
    variables = {PIPE_FOLDER: str(pipes), LOG_FOLDER: str(logs)}
    of_daemon = {**os.environ, **variables}
    # With this variable the daemon would number only these GPUs, from 0. Ray gives trials the machine's numbers.
    of_daemon.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        pipes.mkdir()
        logs.mkdir()
        # Not through a pipe, which a daemon may keep open as long as it runs.
        output = folder / "output.txt"
        if not (_control(of_daemon, output, "-d") and _wait_for_daemon(pipes, running=True)):
            lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = f" ({lines[0]})" if lines else ""
            raise UserError(
                f"{CONTROL} -d did not start a daemon{why}. compute.mps=auto needs it. Set compute.mps=off."
            )
        yield variables
    finally:
        _control(of_daemon, folder / "quit.txt", commands=b"quit\n")
        if not _wait_for_daemon(pipes, running=False) and (pid := _daemon_pid(pipes)):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mps_for_packed_trials(say: Callable[[str], None]) -> Iterator[None]:
    """Let processes that the body starts use MPS if it is available. Report in one line whether they do."""
    if mps_runs():
        say("compute.mps=auto: an MPS daemon is running already, and trials use it.")
        yield
    elif not mps_available():
        say(f"compute.mps=auto: {CONTROL} is not installed. Trials share a GPU without MPS.")
        yield
    else:
        with mps_daemon() as variables, environment(variables):
            say("compute.mps=auto: started an MPS daemon for this sweep.")
            yield


def _control(environment: Mapping[str, str], output: Path, *options: str, commands: bytes = b"") -> bool:
    """Run the daemon's command. Return whether it succeeded within the limit."""
    with suppress(OSError, subprocess.TimeoutExpired), output.open("wb") as file:
        ended = subprocess.run(
            [CONTROL, *options],
            env=environment,
            input=commands,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends the daemon after its trials
            timeout=LIMIT_SECONDS,
            check=False,
        )
        return ended.returncode == 0
    return False


def _wait_for_daemon(pipes: Path, *, running: bool) -> bool:
    """Wait until the daemon runs, or has ended. Return False if that takes longer than the limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (_daemon_pid(pipes) is not None) != running:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _daemon_pid(pipes: Path) -> int | None:
    """Return the process of the daemon that serves this pipe folder; None if there is none."""
    try:
        pid = int((pipes / PID_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # the daemon runs, for another user
    return pid
