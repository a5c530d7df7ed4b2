"""What a tracking server is asked for: its records, its files, who may reach it. Checked before it starts."""

import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from analysis.records.address import without_password
from analysis.store.database import (
    SQLITE,
    absolute_store,
    database_file,
    is_missing,
    refused_schema,
    schema_fault,
)
from analysis.store.sqlite_reader import SQLiteReader, is_readable
from pipeline.environment import environment
from pipeline.errors import UserError, first_line

POSTGRESQL = ("postgresql://", "postgresql+psycopg://")
# Where a server has its records, files and accounts, if it is asked for nothing else.
FOLDER = Path("server")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[[]::1]")  # patterns, in which a bracket stands in brackets
# Each worker takes about 240 MB. SQLite has one writer at a time.
MOST_WORKERS = 4
CONNECT_SECONDS = "5"
S3 = "s3://"


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens, and where its records and files are.

    artifacts: a folder's path, or an address that MLflow knows. allowed_hosts: patterns of the names by which clients
    may call the server, as they stand in the header Host; empty on loopback.
    """

    host: str
    port: int
    store: str
    artifacts: str
    allowed_hosts: tuple[str, ...]
    auth: bool

    @property
    def address(self) -> str:
        """The address for clients: by the first allowed name, or the machine's, if the server listens everywhere."""
        host = self.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
            names = (urlsplit(f"//{pattern}").hostname or "*" for pattern in self.allowed_hosts)
            host = next((name for name in names if "*" not in name), socket.gethostname())
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def options(self) -> list[str]:
        """Return the options of `mlflow server`."""
        workers = 1 if self.store.startswith(SQLITE) else min(MOST_WORKERS, os.cpu_count() or 1)
        listening = ["--host", self.host, "--port", str(self.port), "--workers", str(workers)]
        files = ["--serve-artifacts", "--artifacts-destination", self.artifacts]
        named = []
        if self.allowed_hosts:
            hosts = _with_ports((*self.allowed_hosts, *LOOPBACK_NAMES))
            # Else the UI's own requests are refused: a browser names the address of the page in them.
            origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
            named = ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]
        return [*listening, *files, *named, *(["--app-name", "basic-auth"] if self.auth else [])]


def server_settings(
    host: str, port: int, store: str | None, artifacts: str | None, allowed_hosts: Sequence[str], *, auth: bool
) -> ServerSettings:
    """Return the settings of a server that can start. Raises UserError for each fault of what was asked for."""
    named = tuple(filter(None, allowed_hosts))
    if not is_loopback(host) and not named:
        raise UserError(
            f"--host={host}: other machines can reach this address, and MLflow refuses them (403, Invalid Host header) "
            "unless you name the hosts by which they call it: --allowed-hosts=NAME,NAME"
        )
    if "*" in named:
        raise UserError(
            "--allowed-hosts=* would let any web page reach the server through a reader's browser. Name the hosts."
        )
    if auth and find_spec("flask_wtf") is None:
        raise UserError(
            "--auth: MLflow's authentication needs a package: .venv/bin/python -m pip install 'Flask-WTF<2'"
        )
    return ServerSettings(host, port, _checked_store(store), _checked_artifacts(artifacts), named, auth)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _checked_store(given: str | None) -> str:
    """Return the address of a database that MLflow can use or create."""
    store = absolute_store(given or f"{SQLITE}{FOLDER / 'mlflow.db'}")
    shown = without_password(store)
    if not store.startswith((SQLITE, *POSTGRESQL)):
        raise UserError(f"--store={shown}: must be sqlite:///FILE or postgresql://HOST/DATABASE")
    if file := database_file(store):
        if not is_missing(store):
            _refuse_embedded(store, file)
        if fault := refused_schema(store):
            raise UserError(f"--store={fault}")
        file.parent.mkdir(parents=True, exist_ok=True)
        return store
    if urlsplit(store).password or "password" in parse_qs(urlsplit(store).query):
        raise UserError(
            f"--store={shown}: holds a password, and all users of this machine see its command lines. Leave it out, "
            "and set PGPASSWORD or use ~/.pgpass."
        )
    if find_spec("psycopg") is None:
        raise UserError(f"--store={shown}: PostgreSQL needs a driver: pip install 'cut-ablation[server]'")
    try:
        with environment({"PGCONNECT_TIMEOUT": os.environ.get("PGCONNECT_TIMEOUT", CONNECT_SECONDS)}):
            found, mend = schema_fault(store)
    except Exception as error:  # of SQLAlchemy and of the driver
        reason = first_line(getattr(error, "orig", error))
        raise UserError(f"--store={shown}: the database does not answer ({reason})") from None
    if found:
        raise UserError(f"--store={found}. {mend}.")
    return store


def _refuse_embedded(store: str, file: Path) -> None:
    """Raise UserError for a store that a sweep has written without a server: its files have paths of this machine."""
    if is_readable(file) and SQLiteReader(file).artifacts_are_local():
        raise UserError(
            f"--store={store}: its files are named by paths of this machine, which a server cannot hand out. Start the "
            f"server on another store, then carry the records over: just migrate {store} ADDRESS"
        )


def _checked_artifacts(given: str | None) -> str:
    """Return the absolute path of a folder, or the address of another storage."""
    artifacts = given or str(FOLDER / "artifacts")
    if artifacts.startswith(S3) and find_spec("boto3") is None:
        raise UserError(f"--artifacts={artifacts}: MLflow needs a package for S3: pip install boto3")
    return artifacts if "://" in artifacts else str(Path(artifacts).absolute())


def _with_ports(patterns: Sequence[str]) -> list[str]:
    """Return the patterns, and each with any port, unless it names one."""
    return [found for name in patterns for found in ((name,) if _has_port(name) else (name, f"{name}:*"))]


def _has_port(pattern: str) -> bool:
    return ":" in pattern.rpartition("]")[2]
