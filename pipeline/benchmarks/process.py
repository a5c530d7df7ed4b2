"""Child processes for benches: whatever happens to one, its parent gets a result or the reason why there is none."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.errors import first_line

# How long a process may take to end by itself, and after it was asked to.
SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class Failed:
    """Why there is no result, in one line."""

    reason: str


class Child:
    """A process of its own that runs `work(connection, *arguments)`. Its standard output goes to standard error."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_run, args=(theirs, work, arguments))
        self._process.start()
        # Without its last other holder the pipe ends when the process does.
        theirs.close()

    def send(self, message: Any) -> None:
        """Send a message. A process that has ended is noticed by the next `receive`."""
        try:
            self.connection.send(message)
        except OSError:
            return

    def receive(self) -> Any:
        """Wait for the next message of the process. Returns Failed if the process ends before it sends one."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return Failed(self._how_it_ended())

    def stop(self) -> None:
        """End the process, by force if it does not end by itself."""
        self.connection.close()
        for end in (self._process.terminate, self._process.kill):
            self._process.join(SECONDS_TO_END)
            if self._process.is_alive():
                end()
        self._process.join()

    def _how_it_ended(self) -> str:
        self._process.join(SECONDS_TO_END)
        code = self._process.exitcode
        if code is None:
            return "the process closed its connection and still runs"
        if code < 0:
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process exited with code {code} before it had a result"


class Worker:
    """A process that does one piece of work after another."""

    def __init__(self) -> None:
        self._child = Child(_serve)

    def do(self, work: Callable[[], Any]) -> Any:
        """Run the work in the process. Returns its result, or Failed if it raises or the process dies."""
        self._child.send(work)
        return self._child.receive()

    def stop(self) -> None:
        """End the process."""
        self._child.stop()


def _run(connection: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # A bench prints nothing but its JSON to standard output.
    os.dup2(2, 1)
    try:
        work(connection, *arguments)
    except Exception as error:
        with suppress(OSError):  # nobody listens any more
            connection.send(Failed(first_line(error)))


def _serve(connection: Connection) -> None:
    while True:
        try:
            work = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = work()
        except Exception as error:
            result = Failed(first_line(error))
        connection.send(result)
