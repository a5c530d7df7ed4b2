"""Act at once if Ray ends in the middle of a sweep. Ray itself would wait for a minute, print a trace and abort."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from pipeline.trial.process import save_trials

# The names of the processes without which Ray does not work, as the system knows them.
RAY_PROCESSES = ("gcs_server", "raylet")
MOST_STARTS = 3
# How often this sweep has started Ray anew.
STARTS = "CUT_ABLATION_RAY_STARTS"
SECONDS_APART = 1.0
# A control service that is busy may refuse a connection.
MOST_REFUSALS = 3


def started_anew() -> bool:
    """Return whether this sweep has started Ray anew, and not the user the command."""
    return STARTS in os.environ


@contextmanager
def guarded(server: str, address: str, *, own: bool) -> Iterator[None]:
    """Watch Ray while the body runs. If it ends, let the trials of the server save and end.

    Then start the command anew if this process had started Ray (own), or else end it. address: of Ray's control
    service.
    """
    processes = _ray_processes() if own else {}
    family = set(processes)
    over = threading.Event()

    def ended() -> list[str]:
        family.update(below for pid in processes for below in _descendants(pid))
        # The system gives the id of a process that is gone to another one, which must not be killed.
        family.intersection_update([pid for pid in family if _runs(pid)])
        return [name for pid, name in processes.items() if not _runs(pid)]

    def act(name: str) -> NoReturn:
        save_trials(server)
        _start_anew(name, family) if own else _end(address)

    def watch() -> None:
        refusals = 0
        while not over.wait(SECONDS_APART):
            names = ended()
            refusals = 0 if names or _answers(address) else refusals + 1
            if names or refusals == MOST_REFUSALS:
                act(names[0] if names else "gcs_server")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        # The driver may notice first that Ray has ended.
        if names := ended():
            act(names[0])
        raise
    finally:
        over.set()
        thread.join()


def _start_anew(ended: str, family: set[int]) -> NoReturn:
    """Run the same command in this process again: it goes on from the checkpoints. family: Ray's processes."""
    starts = int(os.environ.get(STARTS, "0")) + 1
    _say(f"Ray's process {ended} has ended.")
    if starts > MOST_STARTS:
        _say(f"error: That was the {starts}th time. Look for the reason, then run the same command to resume.")
        os._exit(2)
    _say(f"Starting Ray anew ({starts} of at most {MOST_STARTS} times).")
    for pid in family:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    # No thread of Ray survives this, and no file that it has open.
    os.execve(sys.executable, sys.orig_argv, {**os.environ, STARTS: str(starts)})  # noqa: S606 (this command itself)


def _end(address: str) -> NoReturn:
    _say(
        f"error: The Ray cluster at {address} does not answer any more. The trials of this machine have saved their "
        "checkpoints. Start the cluster, then run the same command to resume."
    )
    os._exit(2)


def _say(text: str) -> None:
    show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the live table hides it
    print(f"{show_cursor}{text}", file=sys.stderr, flush=True)


def _ray_processes() -> dict[int, str]:
    """Return Ray's processes among the children of this process, by their ids."""
    names = {pid: Path("/proc", str(pid), "comm").read_text().strip() for pid in _children("self")}
    return {pid: name for pid, name in names.items() if name in RAY_PROCESSES and _runs(pid)}


def _children(pid: int | str) -> list[int]:
    lists: list[str] = []
    with suppress(OSError):  # the process has ended
        lists = [task.read_text() for task in Path("/proc", str(pid), "task").glob("*/children")]
    return [int(child) for text in lists for child in text.split()]


def _descendants(pid: int) -> set[int]:
    children = _children(pid)
    return {*children, *(below for child in children for below in _descendants(child))}


def _runs(pid: int) -> bool:
    with suppress(OSError):
        # The state comes after the name, which is in brackets. Z: ended, but its parent has not asked how.
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
