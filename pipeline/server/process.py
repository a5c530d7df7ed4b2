"""The process of MLflow's server: started, followed in a log, and ended with all its workers."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from analysis.records.address import without_password
from analysis.records.printable import printable
from pipeline.errors import UserError
from pipeline.server import keeper

LOOPBACK = "127.0.0.1"
# uvicorn's lines once it listens and a worker has started. With several workers the first comes before the second.
READY = ("Uvicorn running on", "Application startup complete")
# MLflow's server and uvicorn write this word into the lines that a user must see.
FAULT = "ERROR"
SECONDS_TO_END = 5.0
# Of every server that a command starts.
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve(options: Sequence[str], variables: Mapping[str, str], log: Path, ready: Callable[[], None]) -> NoReturn:
    """Run MLflow's server until a KeyboardInterrupt, which is raised again once all its processes have ended.

    They also end if this process is killed. What the server says is written into the log, and its errors are printed.

    Args:
        options: of `mlflow server`. Others can read them, so passwords are in the variables.
        ready: called once the server listens.

    Raises UserError if the server ends by itself.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print("Starting MLflow's server …", file=sys.stderr, flush=True)
    process = _start([sys.executable, "-m", "mlflow", "server", *options], variables)
    try:
        _follow(process, log, ready)
    finally:
        _end(process)
    raise UserError(f"MLflow's server ended with exit code {process.returncode}. See {log}.")


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        # As servers do: a port that was closed a moment ago is free.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            tried.bind((host, port))
            return True
    return False


def _start(command: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start the server under its keeper, in a process group of its own, so that Ctrl-C reaches only this process."""
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(keeper.__file__)), str(SECONDS_TO_END), *command],
        env={**os.environ, **SETTINGS, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _follow(process: "subprocess.Popen[str]", log: Path, ready: Callable[[], None]) -> None:
    """Write what the server says into the log, and print its errors, until it ends."""
    assert process.stdout is not None
    awaited = {*READY}
    with log.open("w", encoding="utf-8") as written:
        for line in process.stdout:
            written.write(line)
            written.flush()
            if awaited:
                awaited -= {said for said in awaited if said in line}
                if not awaited:
                    ready()
            if FAULT in line:
                print(printable(without_password(line.strip())), file=sys.stderr, flush=True)


def _end(process: "subprocess.Popen[str]") -> None:
    """Let the keeper end the server and its workers; kill what is left."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2 * SECONDS_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
