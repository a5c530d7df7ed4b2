"""Which host this is, and which of its processes live."""

import hashlib
import os
import socket
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
