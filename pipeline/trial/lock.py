"""The lock of a trial: held by the process that trains it. The system frees it however that process ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError

LOCK = "training.lock"
# `is_claimed` holds the lock for a moment; a trial that starts then waits this long.
WAIT_SECONDS = 0.5


class TakenError(UserError):
    """Another process trains this trial now."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the lock of a trial's folder. Raises TakenError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        raise TakenError(f"Trial {folder.name} is running in another process. Wait for it or stop it.") from None
    try:
        yield
    finally:
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Return whether a process trains in this folder now."""
    if not (folder / LOCK).exists():
        return False
    try:
        with claimed(folder):
            return False
    except TakenError:
        return True
