"""just server: a tracking server of MLflow, with its own records and files."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.records.address import PASSWORD, USER, without_password
from analysis.store.database import database_address
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError
from pipeline.server.accounts import Accounts, prepare_accounts
from pipeline.server.process import is_free, serve
from pipeline.server.settings import FOLDER, ServerSettings, is_loopback, server_settings


def server(
    host: str, port: int, store: str | None, artifacts: str | None, allowed_hosts: Sequence[str], *, auth: bool
) -> int:
    """Serve records and files of sweeps until Ctrl-C."""
    settings = server_settings(host, port, store, artifacts, allowed_hosts, auth=auth)
    if not is_free(host, port):
        raise UserError(
            f"{host}:{port} is in use, or no address of this machine. Choose another: just server --port=6000"
        )
    if not auth and not is_loopback(host):
        print(
            "Whoever reaches this address can read, change and delete the records. Protect it: --auth, or a firewall.",
            file=sys.stderr,
        )
    accounts = prepare_accounts(FOLDER) if auth else None
    log = Path(PathsConfig().logs) / "server.log"
    # Not as options, which others can read.
    variables = {"MLFLOW_BACKEND_STORE_URI": database_address(settings.store)}
    variables |= accounts.variables if accounts else {}
    try:
        serve(settings.options(), variables, log, partial(_show, settings, accounts, log))
    except KeyboardInterrupt:
        return 0


def _show(settings: ServerSettings, accounts: Accounts | None, log: Path) -> None:
    """Print the server's address, and the lines that let a sweep use it."""
    print(f"MLflow: {settings.address}")
    print(f"Records: {without_password(settings.store)}. Files: {without_password(settings.artifacts)}.")
    print(f"To use it: export MLFLOW_TRACKING_URI={settings.address}")
    if accounts:
        kept = accounts.password_file
        password = f'"$(cat {shlex.quote(str(kept))})"' if kept else "…"
        print(f"To sign in: export {USER}={shlex.quote(accounts.admin)} {PASSWORD}={password}")
    print(f"Stop with Ctrl-C. Log: {log}", flush=True)
