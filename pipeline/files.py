"""Write files and folders atomically: other processes see the old content or the new one, never a part."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.processes import start_of, this_host

# A partial file of another host, whose processes cannot be asked for, is a leftover after this time without a write.
ABANDONED_SECONDS = 24 * 3600.0
# What the system says if there is no room on a disk, or none left for this user.
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` for a file or a folder; rename it to `target` if the body succeeds.

    If the body fails, what it wrote is removed. If the disk is full, the OSError has the name of `target`.
    The temporary name is unique, so several processes may write one file; the last one to finish wins. A folder must
    not exist yet. A killed process leaves its temporary path: see `remove_leftovers`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # No tempfile.mkstemp: its files can be read by their owner only, and machines share caches.
    partial = target.with_name(_partial_name(target.name))
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        # numpy reports that it could not write all in words of its own, without an error number.
        if error.errno in FULL or re.fullmatch(r"\d+ requested and \d+ written", str(error)):
            number = error.errno or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(target)) from error
        raise
    finally:
        remove(partial)


def remove_leftovers(target: Path) -> None:
    """Remove what dead processes left beside `target`. The partial files of living processes stay.

    Only for a caller that holds the target's lock: versions before this one wrote no process into the name.
    """
    writer = re.compile(rf"\.{re.escape(target.name)}\.(?:(\w+)-(\d+)-(\d+)-)?[0-9a-f]{{8}}\.partial")
    for partial in target.parent.glob(".*.partial"):
        found = writer.fullmatch(partial.name)
        if found and _is_abandoned(partial, *found.groups()):
            remove(partial)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _partial_name(name: str) -> str:
    """A new temporary name. It says which process writes: its host, its id and when it started."""
    return f".{name}.{this_host()}-{os.getpid()}-{start_of(os.getpid())}-{secrets.token_hex(4)}.partial"


def _is_abandoned(partial: Path, host: str | None, pid: str, start: str) -> bool:
    if host is None:
        return True
    if host == this_host():
        return start_of(int(pid)) != int(start)
    try:
        return time.time() - partial.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False
