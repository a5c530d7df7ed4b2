"""Child processes for benchmarks. If a child crashes, the parent gets the reason instead of a result."""

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

# Time limit for a process to end by itself, and after each signal.
SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class Failed:
    """The reason why there is no result, in one line."""

    reason: str


class Child:
    """A process that runs `work(connection, *arguments)`. Its standard output goes to standard error."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_run, args=(theirs, work, arguments))
        self._process.start()
        # So that the pipe closes when the process ends.
        theirs.close()

    def send(self, message: Any) -> None:
        """Send a message. If the process has ended, the next `receive` reports it."""
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

    def do(self, work: Callable[[], Any]) -> Any:
        """Run a function in a process that runs `serve`. Returns its result, or Failed if it raises or dies."""
        self.send(work)
        return self.receive()

    def stop(self) -> None:
        """End the process. Terminate or kill it if it does not end by itself."""
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


def _run(connection: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Only the JSON of the benchmark may go to standard output.
    os.dup2(2, 1)
    try:
        work(connection, *arguments)
    except Exception as error:
        with suppress(OSError):  # the parent has closed the pipe
            connection.send(Failed(first_line(error)))


def serve(connection: Connection) -> None:
    """Run one received function after another, and send back its result or Failed. End when the pipe closes."""
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
