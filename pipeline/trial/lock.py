"""Who trains a trial: a lock in its folder, which the system frees however its holder ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError

LOCK = "training.lock"
# Who only asks whether a trial is being trained holds its lock for that moment.
ASKED_SECONDS = 0.5


class TakenError(UserError):
    """Another process trains this trial at this moment."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a trial's folder while it trains. Raises TakenError where another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=ASKED_SECONDS)
    except Timeout:
        raise TakenError(f"{folder.name} is being trained by another process; wait for it, or stop that one") from None
    try:
        yield
    finally:
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Whether some process trains in this folder now."""
    if not (folder / LOCK).exists():
        return False
    try:
        with claimed(folder):
            return False
    except TakenError:
        return True
