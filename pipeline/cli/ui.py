"""just ui: serve MLflow's UI, and show the address of each sweep's saved view."""

import os
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from analysis.records.address import with_password, without_password
from analysis.records.names import sweep_name
from analysis.records.printable import printable
from analysis.records.schema import RecordsError
from analysis.store.open_store import default_store
from analysis.store.overview import recorded_experiments
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError
from pipeline.tracking.ui_views import shared_views, view_address

HOST = "127.0.0.1"
# How many ports are tried, if those before are taken.
PORTS = 20
# uvicorn's line once it listens. Before, it says that the application has started.
READY = "Uvicorn running on"
# MLflow's server and uvicorn write this word into the lines that a user must see.
FAULT = "ERROR"
SECONDS_TO_END = 5.0


def ui(name: str | None, port: int) -> int:
    """Serve MLflow's UI until Ctrl-C. Print where each recorded sweep's view is, or only those of one sweep.

    If the records are on a server, its addresses are printed, and nothing is served.
    """
    uri = default_store()
    views = _views(uri, sweep_name(name) if name else None)
    if uri.startswith("http"):
        _show(without_password(uri).rstrip("/"), views, opened=name is not None)
        return 0
    free = _free_port(port)
    if free != port:
        print(f"Port {port} is in use. Using {free}.", file=sys.stderr)
    log = Path(PathsConfig().logs) / "ui.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print("Starting MLflow's server …", file=sys.stderr, flush=True)
    process = _start(uri, free)
    try:
        _follow(process, log, f"http://{HOST}:{free}", views, opened=name is not None)
    except KeyboardInterrupt:
        return 0
    finally:
        _end(process)
    raise UserError(f"MLflow's server ended with exit code {process.wait()}. See {log}.")


def _views(uri: str, sweep: str | None) -> list[tuple[str, str]]:
    """Return the title and the path of each saved view, or only those of one sweep."""
    found = [
        (experiment.name, shared, view_address(experiment.experiment_id, shared))
        for experiment in recorded_experiments(uri)
        for shared in shared_views(experiment.tags)
    ]
    if sweep is not None and not any(shared == sweep for _, shared, _ in found):
        known = ", ".join(sorted({shared for _, shared, _ in found})) or "none"
        raise RecordsError(
            f"{without_password(uri)} has no view of sweep {sweep!r}. It has: {known}. just sweep {sweep} saves one."
        )
    return [(f"{shared} on {task}", path) for task, shared, path in found if sweep in (None, shared)]


def _start(uri: str, port: int) -> subprocess.Popen[str]:
    """Start the server in a process group of its own, so that Ctrl-C reaches it only through this process."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Not as an argument, which others can read.
        "MLFLOW_BACKEND_STORE_URI": with_password(uri),
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    return subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _follow(
    process: subprocess.Popen[str], log: Path, server: str, views: Sequence[tuple[str, str]], *, opened: bool
) -> None:
    """Write what the server says into the log, and print its errors, until it ends. Show the views once it is ready."""
    assert process.stdout is not None
    with log.open("w", encoding="utf-8") as written:
        for line in process.stdout:
            written.write(line)
            written.flush()
            if READY in line:
                _show(server, views, opened=opened)
                print(f"Stop with Ctrl-C. Log: {log}", flush=True)
            elif FAULT in line:
                print(printable(without_password(line.strip())), file=sys.stderr, flush=True)


def _show(server: str, views: Sequence[tuple[str, str]], *, opened: bool) -> None:
    """Print the addresses. If these are of a sweep that the user has named, open the first where there is a display."""
    addresses = [f"{server}/{path}" for _, path in views]
    print(f"MLflow: {server}")
    for (title, _), address in zip(views, addresses, strict=True):
        print(f"{printable(title)}: {address}")
    sys.stdout.flush()
    if opened and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"):
        webbrowser.open(addresses[0])


def _free_port(first: int) -> int:
    for port in range(first, min(first + PORTS, 65536)):
        with socket.socket() as tried:
            # As servers do: a port that was closed a moment ago is free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                tried.bind((HOST, port))
                return port
    raise UserError(
        f"Ports {first} to {first + PORTS - 1} are in use or not allowed. Choose another: just ui --port=6000"
    )


def _end(process: subprocess.Popen[str]) -> None:
    """End the server and its worker."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS_TO_END)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
