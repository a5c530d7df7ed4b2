"""Run each trial in its own process, forked from a process that has imported torch and MLflow.

Each trial has its own memory peak, threads and faults. The imports (6 s of CPU time) are paid once per sweep.
multiprocessing's fork server forks the trials. It belongs to one process, that of the sweep. A thread there, the trial
server, starts trials for Ray's workers, which connect to its Unix socket. So workers need no fork server and no torch.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pipeline.environment import environment
from pipeline.errors import first_line
from pipeline.trial.job import Outcome, Progress, TrialJob
from pipeline.trial.lock import TakenError

Report = Callable[[Progress], None]
Target = Callable[[TrialJob, Report], Outcome]

# What a trial imports; the second is what MLflow imports when it first uses a database. The fork server ignores an
# ImportError. Each trial then imports the module itself and reports the error.
PRELOAD = ["pipeline.trial.run", "mlflow.store.tracking.sqlalchemy_store"]
SERVER_ENDED = "The process that starts trials ended. Run the same command again to resume."


def train(job: TrialJob, report: Report) -> Outcome:
    """Run a trial. Return how it ended. What libraries print goes to the trial's output.txt."""
    # These import torch. Ray's workers only pass this function on.
    from pipeline.hardware.memory import is_out_of_memory
    from pipeline.tracking.store import run_status
    from pipeline.trial.run import run_trial

    folder = Path(job.checkpoint).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        for progress in run_trial(job):
            report(progress)
        status = run_status(job.tracking_uri, job.run_id)
    except TakenError as error:
        return Outcome("taken", str(error))
    except Exception as error:  # any error: `run_trial` has written it into the MLflow run
        return Outcome("memory" if is_out_of_memory(error) else "failed", first_line(error))
    if status == "KILLED":
        return Outcome("stopped", "by the search of another process")
    return Outcome("failed", "in another process") if status == "FAILED" else Outcome("done")


@contextmanager
def trial_server() -> Iterator[str]:
    """Start trials for other processes of this machine while the body runs; yield the server's address, a path.

    Must be entered in the main thread. The fork server imports PRELOAD in the background. At the end, trials that still
    run are killed.
    """
    forkserver.set_forkserver_preload(PRELOAD)
    # The fork server and the trials inherit this: Ctrl-C stops the sweep, and the sweep stops its trials.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # multiprocessing also starts its resource tracker. It would print a warning about each trial that is killed.
        with environment({"PYTHONWARNINGS": "ignore:resource_tracker:UserWarning"}):
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, interrupt)
    # The folder is open to this user only, and its path is short, as a socket's must be.
    with tempfile.TemporaryDirectory(prefix="trials-") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = f"{folder}/socket"
        listener.bind(address)
        listener.listen(64)
        closing, close = multiprocessing.Pipe(duplex=False)
        server = threading.Thread(target=_serve, args=(listener, closing), daemon=True)
        server.start()
        try:
            yield address
        finally:
            close.close()
            server.join()


class TrialProcess:
    """A process that runs a job and reports its progress."""

    def __init__(self, server: str, target: Target, job: TrialJob) -> None:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(server)
            self._messages = Connection(connected.detach())
        # The trial gets this environment: Ray names each worker's GPU in it.
        self._messages.send((dict(os.environ), pickle.dumps((target, job))))

    def receive(self) -> Progress | Outcome:
        """Wait for the next message. The last one is the outcome; the process and all it held are gone by then."""
        try:
            message = self._messages.recv()
        except (EOFError, OSError):
            return Outcome("died", SERVER_ENDED)
        if isinstance(message, Outcome):
            self._await_end()
        return message

    def stop(self) -> None:
        """Kill the process and wait for its end. A trial may be killed at any moment."""
        with suppress(OSError):  # the trial may have ended already
            self._messages.send("stop")
        self._await_end()
        self._messages.close()

    def _await_end(self) -> None:
        """Wait until both the process and the server have closed the connection."""
        with suppress(EOFError, OSError):
            while True:
                self._messages.recv()


def _serve(listener: socket.socket, closing: Connection) -> None:
    """Start a trial for each connection. When the trial ends, send its exit status and close the connection.

    All in one thread: multiprocessing must not start, poll or join a process in two threads at once.
    """
    context = multiprocessing.get_context("forkserver")
    trials: dict[Connection, ForkServerProcess] = {}
    stopped: set[Connection] = set()
    with listener:  # closed also after an error, so that nobody waits for an answer
        while True:
            sentinels = [process.sentinel for process in trials.values()]
            ready = wait([closing, listener, *sentinels, *(trials.keys() - stopped)])
            if closing in ready:
                break
            for messages, process in list(trials.items()):
                if process.sentinel in ready:
                    del trials[messages]
                    stopped.discard(messages)
                    _end(process, messages)
                elif messages in ready:
                    # A worker sends nothing but the request to stop. The end of its connection means the same.
                    stopped.add(messages)
                    process.kill()
            if listener in ready:
                messages = Connection(listener.accept()[0].detach())
                try:
                    process = context.Process(target=_run, args=(*messages.recv(), messages))
                    process.start()
                    trials[messages] = process
                except Exception as error:  # of any kind: the other trials go on
                    with suppress(OSError):  # the worker may have left
                        messages.send(Outcome("died", f"The trial process could not be started: {first_line(error)}"))
                    messages.close()
        for messages, process in trials.items():
            _end(process, messages)


def _end(process: ForkServerProcess, messages: Connection) -> None:
    process.kill()  # needed if only the fork server has ended; no effect on a trial that has
    process.join()
    with suppress(OSError):  # the worker may have left
        messages.send(Outcome("died", _describe_exit(process.exitcode)))
    messages.close()
    process.close()


def _run(variables: dict[str, str], work: bytes, messages: Connection) -> None:
    """Run a trial in this process and send its outcome."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(variables)
    try:
        target, job = pickle.loads(work)
        outcome = target(job, messages.send)
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome("failed", f"{type(error).__name__}: {first_line(error)}")
    messages.send(outcome)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads of libraries


def end_with_parent() -> None:
    """Wait for the end of the process that started this one, then end this one too."""
    parent = multiprocessing.parent_process()
    assert parent, "multiprocessing started this process"
    parent.join()
    os._exit(1)


def _describe_exit(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "The trial process was killed (signal 9). The system does this when memory runs out."
    if code is not None and code < 0:
        return f"The trial process ended by signal {-code} ({signal.strsignal(-code)})."
    return f"The trial process exited with code {code} and gave no reason. See output.txt in the trial's folder."
