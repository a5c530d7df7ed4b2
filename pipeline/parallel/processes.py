"""Further processes of a trial: started, watched, and ended with the trial's own process, however that ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, NoReturn

import pipeline
from pipeline.errors import UserError, first_line
from pipeline.hardware.control_groups import out_of_memory_kills, own_groups
from pipeline.hardware.memory import is_out_of_memory
from pipeline.parallel.group import GroupError
from pipeline.signals import ending_signals_ignored

READY = "ready"
# On CPUs, who waits for a process that has ended gets an error at once. On GPUs it may wait for ever.
SECONDS_TO_NOTICE = 10.0
_COMMAND = "from pipeline.parallel.processes import serve; serve()"


class LostProcessError(UserError):
    """A further process was killed, or did not answer. Nothing is known to be wrong with the trial."""


@dataclass(frozen=True)
class _Failure:
    """What a further process says before it ends because of an error. kind: its own fault, the user's, or memory."""

    kind: Literal["own", "user", "memory"]
    reason: str


@dataclass(frozen=True)
class _Further:
    name: str
    process: subprocess.Popen[bytes]
    messages: Connection

    def receive(self) -> Any:
        """Return its next message; None if it has ended."""
        try:
            return self.messages.recv()
        except (EOFError, OSError):
            return None


class Further:
    """The further processes of a trial, while they run."""

    def __init__(self, started: Sequence[_Further]) -> None:
        self._started = started
        self._memory_kills = out_of_memory_kills(own_groups())
        self._error: Exception | None = None
        self._noted, self._over = threading.Event(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def wait_until_ready(self, minutes: float) -> None:
        """Wait until each process has called its `ready`. Raises what is wrong with one that has not."""
        for one in self._started:
            if not one.messages.poll(60 * minutes):
                raise LostProcessError(f"{one.name} was not ready after {minutes:g} minutes.")
            if (message := one.receive()) != READY:
                raise self._error_of(one, message)
        self._watcher.start()

    def cause_of(self, error: Exception) -> Exception:
        """Return why the group broke, which this process has noticed by `error`."""
        if self._noted.wait(SECONDS_TO_NOTICE) and self._error:
            return self._error
        return LostProcessError(f"Another process of the trial did not answer ({first_line(error)}).")

    def end(self) -> None:
        """Kill the processes. They keep nothing that is not here, too."""
        self._over.set()
        for one in self._started:
            one.process.kill()
            one.process.wait()
        if self._watcher.ident:
            self._watcher.join()
        for one in self._started:
            one.messages.close()

    def _watch(self) -> None:
        """Note the first process that ends or fails. If this process does not notice it, end it."""
        by_messages = {one.messages: one for one in self._started}
        found = by_messages[wait([*by_messages])[0]]  # pyright: ignore[reportArgumentType]
        if self._over.is_set():
            return
        self._error = self._error_of(found, found.receive())
        self._noted.set()
        if not self._over.wait(SECONDS_TO_NOTICE):
            print(f"error: {self._error}", file=sys.stderr, flush=True)
            os._exit(1)

    def _error_of(self, one: _Further, message: _Failure | None) -> Exception:
        match message:
            case _Failure("memory", reason):
                return MemoryError(f"{one.name}: {reason}")
            case _Failure("user", reason):
                return UserError(reason)
            case _Failure(_, reason):
                return RuntimeError(f"{one.name}: {reason}")
            case None:
                code = one.process.wait()
        if code == -signal.SIGKILL and out_of_memory_kills(own_groups()) > self._memory_kills:
            return MemoryError(f"{one.name} was killed by the system, because the main memory ran out.")
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"
        return LostProcessError(f"{one.name} ended {how}.")


@contextmanager
def further_processes(
    target: Callable[..., None], arguments: Sequence[tuple[Any, ...]], variables: Sequence[Mapping[str, str]]
) -> Iterator[Further]:
    """Run the target in a process for each of the arguments, while the body runs. Kill them at its end.

    target: a function at the top level of a module. It also gets a function `ready`, which it calls once. variables: of
    the environment, for each process. Signals that ask a command to end do not reach these processes.

    If the group of processes breaks in the body, this raises why: LostProcessError for a process that was killed, an
    error that `is_out_of_memory` knows, the message of a UserError, or a RuntimeError that names the process's error.
    """
    started: list[_Further] = []
    try:
        for number, (given, environment) in enumerate(zip(arguments, variables, strict=True), start=2):
            started.append(_start(f"Process {number} of {len(arguments) + 1} of the trial", target, given, environment))
        further = Further(started)
    except BaseException:
        Further(started).end()
        raise
    try:
        yield further
    except (GroupError, RuntimeError) as error:
        if isinstance(error, GroupError) or further._noted.is_set():
            raise further.cause_of(error) from error
        raise
    finally:
        further.end()


def _start(
    name: str, target: Callable[..., None], arguments: tuple[Any, ...], variables: Mapping[str, str]
) -> _Further:
    ours, theirs = multiprocessing.Pipe()
    # The same code as here, wherever Python found it.
    paths = [str(Path(pipeline.__path__[0]).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with theirs, ending_signals_ignored():
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
        )
    ours.send((target, arguments))
    return _Further(name, process, ours)


def serve() -> NoReturn:
    """Do what the process that has started this one asks for, then wait until it ends this one."""
    messages = Connection(int(sys.argv[1]))
    try:
        target, arguments = messages.recv()
        threading.Thread(target=_end_with, args=(messages,), daemon=True).start()
        target(*arguments, lambda: messages.send(READY))
    except GroupError:
        pass  # another process is the cause, and the first process learns of it
    except BaseException as error:
        traceback.print_exc()
        messages.send(_Failure(_kind(error), _reason(error)))
        os._exit(1)
    threading.Event().wait()
    raise AssertionError("nobody sets this event")


def _end_with(messages: Connection) -> None:
    """End this process when the other end of the connection is closed."""
    try:
        messages.recv()
    except (EOFError, OSError):
        os._exit(1)


def _kind(error: BaseException) -> Literal["own", "user", "memory"]:
    if is_out_of_memory(error):
        return "memory"
    return "user" if isinstance(error, UserError) else "own"


def _reason(error: BaseException) -> str:
    return first_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
