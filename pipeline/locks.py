"""Locks between processes and hosts, which end with the process that holds them.

Where the file system has file locks (flock), the kernel frees them. Elsewhere a lock is a file with its owner: host,
process id and start time. The owner renews the file's time. Another process takes the lock over at once if the owner
was a process of this host that is dead. It takes the lock of another host after `LEASE_SECONDS` without renewal, which
it measures on its own clock from its first look, so clocks need not agree and may jump.

Limits: all hosts must agree on whether there are file locks. An owner that stands still for `LEASE_SECONDS` without
file locks loses its lock.
"""

import errno
import fcntl
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, LeaseCompromise, SoftFileLease

LEASE_SECONDS = 120.0
RENEWAL_SECONDS = 10.0
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def file_lock(
    path: Path, *, reentrant: bool = False, on_loss: Callable[[LeaseCompromise], None] | None = None
) -> BaseFileLock:
    """Return the lock at a path. `acquire` creates it and its folder.

    reentrant: the thread that holds the lock may take it again. on_loss: called in another thread if the lock is lost
    while it is held, which cannot happen with flock.
    """
    if has_file_locks(next(folder for folder in path.absolute().parents if folder.is_dir())):
        return FileLock(path, is_singleton=reentrant, fallback_to_soft=False)
    lease = path.with_suffix(".lease")
    if _age(lease) > LEASE_SECONDS and not lease.read_bytes():
        # Its owner was killed before it wrote its name. filelock takes no file over that names no owner.
        lease.unlink(missing_ok=True)
    return SoftFileLease(
        lease,
        is_singleton=reentrant,
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=RENEWAL_SECONDS,
        on_compromise=on_loss,
    )


def is_left_behind(lock: BaseFileLock) -> bool:
    """Return whether the lock's owner, of another host, seems dead by this host's clock.

    `acquire` takes `LEASE_SECONDS` to make sure.
    """
    return isinstance(lock, SoftFileLease) and _age(Path(lock.lock_file)) > LEASE_SECONDS


@cache
def has_file_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has file locks. Yes if that cannot be tried; `acquire` says why."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in WITHOUT_LOCKS
    return True


def _age(lease: Path) -> float:
    """Seconds since the owner renewed a lock, by this host's clock; 0 if there is none or the clocks disagree."""
    try:
        return max(0.0, time.time() - lease.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
