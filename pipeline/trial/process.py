"""A trial in a process of its own, forked in milliseconds from one that has imported everything.

Each trial's peak of memory, threads and faults are its own, and importing torch and MLflow, which takes seconds on a
busy machine, is paid once. The process that forks, the nursery, does nothing else: it has no threads and no CUDA.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

from pipeline.trial.job import Outcome, Progress

Work = Callable[[str, Callable[[Progress], None]], Outcome]


def train(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """The work of a trial: all of it, from its job's text."""
    from pipeline.trial.run import run_job  # heavy, and a worker of Ray passes this function on without calling it

    folder = Path(json.loads(job)["checkpoint"]).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        # What libraries print would tear the sweep's table.
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    return run_job(job, tell)


@contextmanager
def forked_nursery() -> Iterator[str]:
    """The address of a nursery forked from this process, with all that this one has imported; it ends with it.

    To be made before this process has threads, or has asked for a GPU.
    """
    with _address() as address, _listening(address) as listener:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(theirs)
            serve(listener, ours)
        os.close(ours)
        listener.close()  # so that nobody waits for a nursery that is gone
        try:
            yield address
        finally:
            os.kill(pid, signal.SIGKILL)  # it holds nothing, and may still be importing
            os.waitpid(pid, 0)
            os.close(theirs)


@contextmanager
def spawned_nursery() -> Iterator[str]:
    """The same for a process that has imported little: a worker of Ray on another machine."""
    with _address() as address, _listening(address) as listener:
        imports = "import socket, sys; from pipeline.trial.process import serve"
        code = f"{imports}; serve(socket.socket(fileno=int(sys.argv[1])), 0)"
        descriptor = listener.fileno()
        command = [sys.executable, "-c", code, str(descriptor)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[descriptor])
        listener.close()
        try:
            yield address
        finally:
            process.kill()
            process.wait()


class TrialProcess:
    """A process that works on a job's text and tells how far it is."""

    def __init__(self, nursery: str, work: Work, job: str) -> None:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(nursery)
            self._messages = Connection(connected.detach())
        # Ray tells each of its workers by these which GPU is its own.
        self._messages.send((work, job, dict(os.environ)))

    def receive(self) -> Progress | Outcome:
        """Wait for the next word; the last one is the outcome, also where the process dies without a word."""
        try:
            message = self._messages.recv()
        except (EOFError, OSError):
            return Outcome("died", "the process that forks trials is gone")
        if isinstance(message, _Gone):
            return Outcome("died", message.cause)
        if isinstance(message, Outcome):
            # What the process holds, its lock and its memory, is free when it is gone.
            self._await_end()
        return message

    def stop(self) -> None:
        """End it, wherever it is; a trial is safe to be ended at any moment."""
        with suppress(OSError):  # it may be gone by itself
            self._messages.send("stop")
        self._await_end()
        self._messages.close()

    def _await_end(self) -> None:
        with suppress(EOFError, OSError):
            while not isinstance(self._messages.recv(), _Gone):
                pass


@dataclass(frozen=True)
class _Gone:
    """The nursery's word that a process has ended, and by what."""

    cause: str


def serve(listener: socket.socket, parent: int) -> NoReturn:
    """Be a nursery: fork for everyone who asks, and tell them when their process has ended, until the parent closes the
    other end of its pipe, or is gone."""
    try:
        _fork_for_all(listener, parent)
    finally:
        os._exit(1)  # never back into what this process was forked from


def _fork_for_all(listener: socket.socket, parent: int) -> NoReturn:
    os.setsid()  # Ctrl-C is for the sweep, which ends its trials in order
    _import_all()
    child_ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    askers: dict[int, Connection] = {}
    while True:
        ready = wait([listener, parent, child_ended])
        if parent in ready:
            os._exit(0)
        if child_ended in ready:
            os.read(child_ended, 4096)
            _tell_ends(askers)
        if listener in ready:
            messages = Connection(listener.accept()[0].detach())
            try:
                work, job, environment = messages.recv()
            except (EOFError, OSError):  # who asked is gone already
                messages.close()
                continue
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                # Each end that another process holds would keep its owner from noticing that the other is gone.
                listener.close()
                for descriptor in (parent, child_ended, wake):
                    os.close(descriptor)
                for other in askers.values():
                    other.close()
                _work(work, job, environment, messages)
            askers[pid] = messages


def _work(work: Work, job: str, environment: dict[str, str], messages: Connection) -> NoReturn:
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        threading.Thread(target=_end_when_asked, args=(messages,), daemon=True).start()
        messages.send(work(job, messages.send))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_when_asked(messages: Connection) -> None:
    """The one word that a trial is ever sent is to stop; and a worker of Ray that was killed is heard to be gone."""
    with suppress(EOFError, OSError):
        messages.recv()
    os._exit(1)


def _tell_ends(askers: dict[int, Connection]) -> None:
    while askers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        messages = askers.pop(pid)
        with suppress(OSError):  # who asked may be gone as well
            messages.send(_Gone(_cause_of_death(os.waitstatus_to_exitcode(status))))
        messages.close()


def _import_all() -> None:
    """What a trial needs, so that none has to import it."""
    from pipeline.tracking import store as tracking
    from pipeline.trial import run as trial

    assert trial, "its imports are all that is wanted"
    tracking.import_store()


@contextmanager
def _address() -> Iterator[str]:
    # In a folder that only this user may enter, and a socket's path must be short.
    folder = tempfile.mkdtemp(prefix="trials-")
    try:
        yield f"{folder}/nursery"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        yield listener


def _cause_of_death(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "its process was killed (signal 9), as the system does where memory runs out"
    if exit_code < 0:
        return f"its process ended by signal {-exit_code} ({signal.strsignal(-exit_code)})"
    return f"its process ended without a word (exit code {exit_code})"
