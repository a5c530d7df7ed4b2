"""Files of MLflow's basic authentication: its users, the administrator's first password, the key of its forms."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analysis.store.database import sqlite_address
from pipeline.errors import UserError

# MLflow's own variables.
ADMIN, PASSWORD, FORMS_KEY = (
    "MLFLOW_AUTH_ADMIN_USERNAME",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
)
# MLflow's rule.
SHORTEST_PASSWORD = 12
# Every user may record into every experiment. Only who created an experiment, and the administrator, may delete runs.
PERMISSION = "EDIT"
# Checking a password takes a tenth of a second, and by default MLflow does it at each request.
REMEMBERED_SECONDS = 60


@dataclass(frozen=True)
class Accounts:
    """Name of the administrator; the file of the generated password, if one was generated; variables for the server."""

    admin: str
    password_file: Path | None
    variables: Mapping[str, str] = field(repr=False)


def prepare_accounts(folder: Path) -> Accounts:
    """Return the accounts of a server. Missing files are created in the folder, and only their owner can read them.

    MLflow takes name and password of the administrator at its first start, and ignores them later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # It also holds the records, if these are in SQLite.
    folder.chmod(0o700)
    admin, given = os.environ.get(ADMIN) or "admin", os.environ.get(PASSWORD, "")
    if given and len(given) < SHORTEST_PASSWORD:
        raise UserError(f"{PASSWORD}: MLflow asks for at least {SHORTEST_PASSWORD} characters")
    password_file = None if given else (folder / "admin_password").absolute()
    users = sqlite_address((folder / "users.db").absolute())
    settings = (folder / "auth.ini").absolute()
    # In this format, % begins a reference.
    settings.write_text(
        f"[mlflow]\ndefault_permission = {PERMISSION}\ndatabase_uri = {users.replace('%', '%%')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        f"auth_cache_ttl_seconds = {REMEMBERED_SECONDS}\n",
        encoding="utf-8",
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        ADMIN: admin,
        PASSWORD: given or _secret(folder / "admin_password"),
        FORMS_KEY: os.environ.get(FORMS_KEY) or _secret(folder / "forms_key"),
    }
    return Accounts(admin, password_file, variables)


def _secret(file: Path) -> str:
    """Return the secret in a file, which is drawn and written the first time."""
    if not file.exists():
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(f"{secrets.token_urlsafe(24)}\n", encoding="utf-8")
    if file.stat().st_mode & 0o077:
        raise UserError(f"{file}: other users can read this secret. Run: chmod 600 {file}")
    return file.read_text(encoding="utf-8").strip()
