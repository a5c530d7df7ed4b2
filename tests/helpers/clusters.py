"""Real Ray clusters of several nodes on this machine: each with its own address, folders and processes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import pytest
from faults import descendants, until

TOKEN = "7" * 64
HEAD = "127.0.0.2"
# Nodes with addresses of their own are many machines for Ray, which refuses that on other systems than Linux.
VARIABLES = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


# Mount empty folders over the first arguments, up to a `--`, and become the rest.
HIDE = 'while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit; shift; done; shift; exec "$@"'
PRIVATE = ("unshare", "--mount", "sh", "-c", HIDE, "sh")


class RayNodes:
    """A head without cores, and nodes with one core each, by their addresses. See `ray_nodes`."""

    def __init__(self, folder: Path, python_path: str, head: Sequence[str], hidden: Sequence[Path]) -> None:
        self.folder, self.python_path, self.hidden = folder, python_path, hidden
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"{HEAD}:{free_port(HEAD)}"
        self._start([], HEAD, "--head", f"--port={self.address.rpartition(':')[2]}", "--num-cpus=0", *head)

    @property
    def variables(self) -> dict[str, str]:
        """What a sweep needs to join."""
        return {**VARIABLES, "RAY_ADDRESS": self.address}

    def add(self, address: str, *options: str, **variables: str) -> None:
        """Start a node in a working folder of its own."""
        private = [*PRIVATE, *map(str, self.hidden), "--"] if self.hidden else []
        self._start(private, address, f"--address={self.address}", *(options or ["--num-cpus=1"]), **variables)

    def kill(self, address: str) -> None:
        """End a node and all that runs on it, as a power cut does."""
        started = self.nodes.pop(address)
        family = [started.pid, *descendants(started.pid)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.wait()

    def family(self, address: str) -> list[int]:
        """All processes of a node."""
        return descendants(self.nodes[address].pid)

    def _start(self, private: list[str], address: str, *options: str, **variables: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="n", dir=self.folder))
        said = folder / "said.txt"
        self.nodes[address] = subprocess.Popen(
            [*private, sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
             f"--node-ip-address={address}", f"--temp-dir={folder}", "--object-store-memory=80000000", *options],
            stdout=said.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **VARIABLES, "PYTHONPATH": self.python_path, **variables},
        )  # fmt: skip
        until(lambda: "Ray runtime started" in said.read_text())


def free_port(address: str) -> int:
    """A port of an address on which nothing listens."""
    with socket() as free:
        free.bind((address, 0))
        return free.getsockname()[1]


@contextmanager
def ray_nodes(
    *addresses: str, python_path: str = "", head: Sequence[str] = (), hidden: Sequence[Path] = ()
) -> Iterator[RayNodes]:
    """A cluster with a node of one core at each of the addresses.

    python_path: the code that is installed there. head: further options of the head. hidden: folders of this machine
    in whose place each node but the head has one of its own, empty at first. That needs the right to mount.
    """
    if hidden and subprocess.run([*PRIVATE, "--", "true"], capture_output=True).returncode:
        pytest.skip("THE RIGHT TO MOUNT IS MISSING: nodes with file systems of their own are not tested")
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        started = RayNodes(Path(folder), python_path, head, hidden)
        try:
            for address in addresses:
                started.add(address)
            yield started
        finally:
            for address in list(started.nodes)[::-1]:
                started.kill(address)
