"""Write files and folders atomically: other processes see the old content or the new one, never a part."""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` for a file or a folder; rename it to `target` if the body succeeds.

    If the body fails, what it wrote is removed.
    The temporary name is unique, so several processes may write one file; the last one to finish wins. A folder must
    not exist yet. A killed process leaves its temporary path: see `remove_leftovers`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # No tempfile.mkstemp: its files can be read by their owner only, and machines share caches.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        remove(partial)


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left beside `target`. Only for a caller that holds the target's lock."""
    for partial in target.parent.glob(f".{target.name}.????????.partial"):
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
