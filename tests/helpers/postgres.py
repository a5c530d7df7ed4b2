"""A real PostgreSQL on loopback, with a folder of its own and a password. It ends with this process."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

import pytest

PASSWORD = "aPasswordOfTests"
SECONDS_TO_START = 60.0


def program(name: str) -> str:
    """A program of PostgreSQL. Debian keeps most of them off the PATH."""
    installed = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    newest = max(installed, key=lambda path: int(path.parts[4]), default=None)
    found = str(newest) if newest else shutil.which(name)
    if found is None or shutil.which("setpriv") is None:
        pytest.skip(f"PostgreSQL is not installed ({name}): apt-get install postgresql")
    return found


class Postgres:
    """A database server, whose address names no password: clients take it from PGPASSWORD."""

    def __init__(self, folder: Path, port: int, user: list[str]) -> None:
        self._folder, self.port, self._user = folder, port, user
        self.uri = f"postgresql://tester@127.0.0.1:{port}/postgres"
        self.start()

    def start(self) -> None:
        listening = ["-p", str(self.port), "-k", str(self._folder), "-c", "listen_addresses=127.0.0.1"]
        self._process = subprocess.Popen(
            # A restart must find what was written, but the machine itself does not fail.
            [*self._user, program("postgres"), "-D", str(self._folder / "data"), *listening, "-c", "fsync=off"],
            stdout=(self._folder / "log").open("a"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + SECONDS_TO_START
        asked = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(asked).returncode:
            assert time.monotonic() < deadline and self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # its fast shutdown, which ends all connections
        self._process.wait(30)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a new, empty PostgreSQL while the body runs. PostgreSQL refuses to run as root."""
    initdb = program("initdb")
    user = ["setpriv", "--pdeathsig", "INT"]
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as place, socket() as free:
        folder = Path(place)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "INT"]
            for owned in (folder, folder / "password"):
                shutil.chown(owned, "postgres", "postgres")
        login = ["--username=tester", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        laid_out = [*user, initdb, "-D", folder / "data", *login, "--no-sync"]
        subprocess.run(laid_out, check=True, stdout=subprocess.DEVNULL)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        database = Postgres(folder, port, user)
        try:
            yield database
        finally:
            database.stop()
