"""What a process gets from its surroundings: environment variables, and a folder for sockets."""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

# The path of a socket has at most 107 bytes. Ray's paths take about 75 of them.
LONGEST_TEMPORARY = 30


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for the body, then restore their earlier values."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def runtime_folder() -> Path:
    """Return this user's folder for sockets and Ray's sessions. Its path is short, and nobody else can open it.

    Processes that do not see each other's process ids, as in containers, have different folders.
    """
    temporary = tempfile.gettempdir()
    base = Path(temporary if len(os.fsencode(temporary)) <= LONGEST_TEMPORARY else "/tmp")
    space = Path("/proc/self/ns/pid")
    number = "".join(filter(str.isdigit, str(space.readlink()))) if space.is_symlink() else "0"
    folder = base / f"cut-ablation-{os.getuid()}-{number}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(f"{folder}: is not a folder of this user alone. Remove it, or set TMPDIR to another folder.")
    return folder
