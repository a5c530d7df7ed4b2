"""just ui: serve MLflow's UI, and show the address of each sweep's saved view."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from analysis.records.address import with_password, without_password
from analysis.records.names import sweep_name
from analysis.records.printable import printable
from analysis.records.schema import RecordsError
from analysis.store.open_store import default_store
from analysis.store.overview import recorded_experiments
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError
from pipeline.server.process import LOOPBACK, is_free, serve
from pipeline.tracking.ui_views import shared_views, view_address

# How many ports are tried, if those before are taken.
PORTS = 20


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

    def show() -> None:
        _show(f"http://{LOOPBACK}:{free}", views, opened=name is not None)
        print(f"Stop with Ctrl-C. Log: {log}", flush=True)

    options = ["--host", LOOPBACK, "--port", str(free), "--workers", "1"]
    try:
        serve(options, {"MLFLOW_BACKEND_STORE_URI": with_password(uri)}, log, show)
    except KeyboardInterrupt:
        return 0


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
        if is_free(LOOPBACK, port):
            return port
    raise UserError(
        f"Ports {first} to {first + PORTS - 1} are in use or not allowed. Choose another: just ui --port=6000"
    )
