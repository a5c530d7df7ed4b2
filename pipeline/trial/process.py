"""Run each trial in its own process, forked from a process that has imported torch and MLflow.

Each trial has its own memory peak, threads and faults. The imports (6 s of CPU time) are paid once per sweep. A worker
asks the trial server (`pipeline.trial.server`) for the process, and exchanges messages with it.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.environment import remove_process_folder, temporary_files_here
from pipeline.errors import UserError, first_line
from pipeline.trial.here import at_this_node
from pipeline.trial.job import Ending, Outcome, Progress, TrialJob
from pipeline.trial.lock import TakenError

Report = Callable[[Progress], None]
Target = Callable[[TrialJob, Report], Outcome]

# What a client sends instead of a trial.
SAVE_ALL = "save all"
# From the end of a trial's output, enough for its last line.
OUTPUT_BYTES = 2000
# If memory runs out, the system kills a trial, which runs again, and not the sweep. Ray sets this for its workers, too.
FIRST_TO_KILL = Path("/proc/self/oom_score_adj")
# At most, between two reports to the sweep's live table.
REPORT_SECONDS = 5.0
# How long a trial may take to save a checkpoint before it is killed.
SECONDS_TO_SAVE = 10.0
# The same for a trial that has outlived its worker on another node. Nobody waits for it, and it may be evaluating.
SECONDS_ALONE = 30.0
SERVER_ENDED = "The process that starts trials ended. Run the same command again to resume."


def train(job: TrialJob, report: Report) -> Outcome:
    """Run a trial. Return how it ended. What libraries print goes to the trial's output.txt."""
    # These import torch. Ray's workers only pass this function on.
    from pipeline.hardware.memory import is_out_of_memory
    from pipeline.parallel.processes import LostProcessError
    from pipeline.training.checkpoint import is_storage_fault
    from pipeline.trial.run import EndedElsewhereError, InterruptedTrialError, StopRequestedError, run_trial

    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    folder = Path(at_this_node(job).checkpoint).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        for progress in run_trial(job, asked_to_stop.is_set, REPORT_SECONDS):
            report(progress)
    except StopRequestedError as error:
        return Outcome("requested", str(error))
    except InterruptedTrialError as error:
        return Outcome("interrupted", str(error))
    except LostProcessError as error:
        return Outcome("lost", str(error))
    except TakenError as error:
        return Outcome("taken", str(error))
    except EndedElsewhereError as error:
        ended: dict[str, Ending] = {"FINISHED": "done", "KILLED": "stopped"}
        return Outcome(ended.get(error.status, "failed"), "by another process")
    except Exception as error:  # any error: `run_trial` has written it into the MLflow run
        if is_storage_fault(error):
            return Outcome("interrupted", _reason(error))
        return Outcome("memory" if is_out_of_memory(error) else "failed", _reason(error))
    return Outcome("done")


class TrialProcess:
    """A process that runs a job and reports its progress."""

    def __init__(self, server: str, target: Target, job: TrialJob) -> None:
        self._messages = _connect(server)
        # The trial gets this environment: Ray names each worker's GPU in it.
        self._messages.send((dict(os.environ), pickle.dumps((target, job))))

    def receive(self, most_seconds: float | None = None) -> Progress | Outcome:
        """Wait for the next message. The last one is the outcome; the process and all it held are gone by then.

        A process that sends nothing for `most_seconds` is killed.
        """
        try:
            if not self._messages.poll(most_seconds):
                self.stop()
                return Outcome("lost", "It made no progress")
            message = self._messages.recv()
        except (EOFError, OSError):
            return Outcome("lost", SERVER_ENDED)
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


def save_trials(server: str) -> None:
    """Ask all trials of a server to save a checkpoint and to end. Return when they have ended.

    Those that still run after `SECONDS_TO_SAVE` are killed. The server starts no more trials.
    """
    with suppress(OSError), closing(_connect(server)) as messages:
        messages.send(SAVE_ALL)
        with suppress(EOFError):
            messages.recv()


def run_and_report(variables: dict[str, str], work: bytes, messages: Connection, seconds_alone: float) -> None:
    """Run a trial in this process and send its outcome. seconds_alone: as `end_with_parent` has it."""
    if seconds_alone:
        os.setpgid(0, 0)  # Ray kills the process group of a worker that has ended
    threading.Thread(target=end_with_parent, args=(seconds_alone,), daemon=True).start()

    def report(message: Progress | Outcome) -> None:
        with suppress(OSError):  # whoever asked for the trial has ended, and the trial saves
            messages.send(message)

    with suppress(OSError):  # not Linux
        FIRST_TO_KILL.write_text("1000", encoding="ascii")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
    os.environ.clear()
    os.environ.update(variables)
    try:
        target, job = pickle.loads(work)
        with temporary_files_here():
            outcome = target(job, report)
    except BaseException as error:  # also SystemExit, which a library may raise
        traceback.print_exc()
        outcome = Outcome("failed", _reason(error))
    remove_process_folder()
    report(outcome)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads of libraries


def last_output(job: TrialJob) -> str:
    """Return the last line of a trial's output.txt on this node, with its path, in words; '' if there is none."""
    file = Path(at_this_node(job).checkpoint).parent / "output.txt"
    if not file.exists():
        return ""
    lines = file.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" Its last output, in {file}: {said}" if said else ""


def end_with_parent(seconds_alone: float = 0.0) -> None:
    """Wait for the end of the process that started this one, then end this one too.

    seconds_alone: how long a trial may take to save first.
    """
    parent = multiprocessing.parent_process()
    assert parent, "multiprocessing started this process"
    parent.join()
    if seconds_alone:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds_alone)
        print(f"Ray has ended this trial's worker, and the trial did not save within {seconds_alone:g} s.", flush=True)
    os._exit(1)


def _connect(server: str) -> Connection:
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(server)
        return Connection(connected.detach())


def _reason(error: BaseException) -> str:
    """Return an error in one line. If it is no fault of the user, add its type and where it was raised."""
    text = first_line(error)
    if isinstance(error, UserError):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"
