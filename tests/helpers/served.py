"""`just server` as a command, on loopback, and what it has printed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 120.0


@dataclass(frozen=True)
class Served:
    """A running server: its address for clients, its command's process, and the lines that this has printed."""

    uri: str
    port: int
    process: "subprocess.Popen[str]"
    said: str


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    with socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served(folder: Path, *options: str, port: int = 0, **variables: str) -> Iterator[Served]:
    """Run the command in a folder while the body runs. A body that has ended it leaves it so."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "server", f"--port={port}", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=(folder / "errors.txt").open("w"),
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **variables},
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Stop with"):
                break
        else:
            raise AssertionError((folder / "errors.txt").read_text())
        yield Served(f"http://127.0.0.1:{port}", port, process, "".join(lines))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate()
        deadline = time.monotonic() + 20
        while answers(port):
            assert time.monotonic() < deadline, "the server outlives its command"
            time.sleep(0.1)
