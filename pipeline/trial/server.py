"""The server that starts the processes of trials, in a thread of the sweep.

multiprocessing's fork server forks the trials. It belongs to one process, that of the sweep. Ray's workers connect to
this server's Unix socket. So they need no fork server and no torch.
"""

import math
import multiprocessing
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from pipeline.environment import environment, process_folder
from pipeline.errors import first_line
from pipeline.hardware.control_groups import out_of_memory_kills, own_groups
from pipeline.signals import ending_signals_ignored
from pipeline.trial.job import Outcome
from pipeline.trial.process import SAVE_ALL, SECONDS_TO_SAVE, run_and_report

# What a trial imports; the second is what MLflow imports when it first uses a database. The fork server ignores an
# ImportError. Each trial then imports the module itself and reports the error.
PRELOAD = ["pipeline.trial.run", "mlflow.store.tracking.sqlalchemy_store"]
# The system may kill several trials at once when memory runs out. All kills are counted when the first trial is cleared
# up, so those that end this long afterwards ran out of memory too.
SECONDS_OF_A_SHORTAGE = 2.0


@contextmanager
def trial_server(seconds_alone: float = 0.0) -> Iterator[str]:
    """Start trials for other processes of this machine while the body runs; yield the server's address, a path.

    Must be entered in the main thread. The fork server imports PRELOAD in the background. At the end, trials that still
    run are killed. seconds_alone: they save instead, and may take so long after the end of this process.
    """
    forkserver.set_forkserver_preload(PRELOAD)
    # A signal may reach all processes of a sweep; the sweep asks its trials to save. multiprocessing also starts its
    # resource tracker. It would print a warning about each trial that is killed.
    with ending_signals_ignored(), environment({"PYTHONWARNINGS": "ignore:resource_tracker:UserWarning"}):
        forkserver.ensure_running()
    with (
        tempfile.TemporaryDirectory(dir=process_folder()) as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        address = f"{folder}/socket"
        listener.bind(address)
        listener.listen(64)
        ending, end = multiprocessing.Pipe(duplex=False)
        server = threading.Thread(target=_serve, args=(listener, ending, seconds_alone), daemon=True)
        server.start()
        try:
            yield address
        finally:
            end.close()
            server.join()


def _serve(listener: socket.socket, ending: Connection, seconds_alone: float) -> None:
    """Start a trial for each connection. When the trial ends, send its exit status and close the connection.

    All in one thread: multiprocessing must not start, poll or join a process in two threads at once.
    """
    trials = _Trials(seconds_alone)
    with listener:  # closed also after an error, so that nobody waits for an answer
        while True:
            ready = wait([ending, listener, *trials.events()], trials.seconds_to_next_kill())
            if ending in ready:
                break
            trials.react(ready)
            if listener in ready:
                messages = Connection(listener.accept()[0].detach())
                try:
                    request = messages.recv()
                    if request == SAVE_ALL:
                        trials.save_all(messages)
                    else:
                        trials.start(messages, *request)
                except Exception as error:  # of any kind: the other trials go on
                    with suppress(OSError):  # the worker may have left
                        messages.send(Outcome("lost", f"The trial process could not be started: {first_line(error)}"))
                    messages.close()
        trials.end_all()


class _Trials:
    """The trial processes of a server, each by the connection to its worker."""

    def __init__(self, seconds_alone: float) -> None:
        self._seconds_alone = seconds_alone
        self._processes: dict[Connection, ForkServerProcess] = {}
        self._left: set[Connection] = set()  # from which nothing more can be received
        self._kill_at: dict[Connection, float] = {}
        self._savers: list[Connection] = []
        self._memory_kills = out_of_memory_kills(own_groups())
        self._memory_ran_out_at = -math.inf

    def events(self) -> list[Connection | int]:
        """What to wait for: the ends of processes, and words of their workers."""
        return [*(process.sentinel for process in self._processes.values()), *(self._processes.keys() - self._left)]

    def seconds_to_next_kill(self) -> float | None:
        """When a trial that was asked to save must be killed; None if there is none."""
        return max(0.0, min(self._kill_at.values()) - time.monotonic()) if self._kill_at else None

    def start(self, messages: Connection, variables: dict[str, str], work: bytes) -> None:
        """Start a trial in a process of its own."""
        if self._savers:
            raise RuntimeError("the sweep ends")
        process = multiprocessing.get_context("forkserver").Process(
            target=run_and_report, args=(variables, work, messages, self._seconds_alone)
        )
        process.start()
        self._processes[messages] = process

    def save_all(self, saver: Connection) -> None:
        """Ask all trials to save and to end. The saver's connection is closed when they have."""
        self._savers.append(saver)
        for messages in self._processes:
            self._ask_to_save(messages)
        self._answer_savers()

    def react(self, ready: Sequence[Any]) -> None:
        """Clear up what has ended. Stop what its worker wants to stop, or what has lost its worker."""
        for messages, process in list(self._processes.items()):
            if process.sentinel in ready:
                self._forget(messages)
            elif messages in ready:
                self._left.add(messages)
                try:
                    messages.recv()  # a worker sends nothing but the request to stop
                    process.kill()
                except (EOFError, OSError):
                    self._ask_to_save(messages)
            elif self._kill_at.get(messages, math.inf) <= time.monotonic():
                del self._kill_at[messages]
                process.kill()
        self._answer_savers()

    def end_all(self) -> None:
        """Kill all trials, or ask them to save if they may outlive this process."""
        for messages, process in list(self._processes.items()):
            process.terminate() if self._seconds_alone else self._forget(messages)

    def _ask_to_save(self, messages: Connection) -> None:
        if messages not in self._kill_at:
            self._kill_at[messages] = time.monotonic() + SECONDS_TO_SAVE
            self._processes[messages].terminate()

    def _forget(self, messages: Connection) -> None:
        process = self._processes.pop(messages)
        self._left.discard(messages)
        self._kill_at.pop(messages, None)
        kills, self._memory_kills = self._memory_kills, out_of_memory_kills(own_groups())
        if self._memory_kills > kills:
            self._memory_ran_out_at = time.monotonic()
        seconds = time.monotonic() - self._memory_ran_out_at
        _end(process, messages, memory_ran_out=seconds < SECONDS_OF_A_SHORTAGE)

    def _answer_savers(self) -> None:
        if not self._processes:
            for saver in self._savers:
                saver.close()


def _end(process: ForkServerProcess, messages: Connection, *, memory_ran_out: bool) -> None:
    process.kill()  # needed if only the fork server has ended; no effect on a trial that has
    process.join()
    with suppress(OSError):  # the worker may have left
        messages.send(_outcome(process.exitcode, memory_ran_out=memory_ran_out))
    messages.close()
    process.close()


def _outcome(code: int | None, *, memory_ran_out: bool) -> Outcome:
    """Return what an exit code says of a trial that has sent no outcome itself."""
    if code == -signal.SIGKILL and memory_ran_out:
        return Outcome("memory", "The system killed the trial process, because the main memory ran out.")
    if code is not None and code < 0:
        return Outcome("lost", f"The trial process ended by signal {-code} ({signal.strsignal(-code)}).")
    return Outcome("lost", f"The trial process exited with code {code} and gave no reason.")
