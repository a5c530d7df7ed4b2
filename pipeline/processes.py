"""Which host this is, which of its processes live, and who gets the signals of a process group."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@cache
def this_host() -> str:
    """Return eight digits for the host. Containers that share a host's name have other process ids."""
    namespace = Path("/proc/self/ns/pid")
    processes = namespace.stat().st_ino if namespace.exists() else 0
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]


def start_of(pid: int) -> int:
    """Return when a process started, in the kernel's clock ticks since boot: 0 if that is not known, -1 if it is dead.

    An id and a start name one process. The id alone is given to another one later.
    """
    try:
        # The second field is a name in parentheses, which may contain spaces. The start is the 22nd.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while this reads
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except PermissionError:  # a process of another user
        pass
    return 0


@contextmanager
def children_in_own_groups() -> Iterator[None]:
    """Keep a signal to this process's group, as batch systems send it, from the children that start in the body.

    It applies to children that `subprocess` starts with a preexec_fn, as Ray does.
    """
    global _in_own_group
    _in_own_group = True
    try:
        yield
    finally:
        _in_own_group = False


_in_own_group = False
os.register_at_fork(after_in_child=lambda: os.setpgid(0, 0) if _in_own_group else None)
