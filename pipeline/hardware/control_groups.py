"""Control groups (cgroup v2), by which containers and batch systems restrict a process. Needs no torch."""

from contextlib import suppress
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")


def own_groups(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> list[Path]:
    """Return the folders of this process's control group and its parents, up to the root. Each may have limits."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # a kernel without control groups
        return []
    # Version 2 has one line, '0::/path'. In a container the path may lie outside of the mounted root.
    paths = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    inner = root / paths[0] if paths else root
    return [folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents]


def cpu_limit(groups: list[Path]) -> float | None:
    """Return how many cores the groups may use on average; None without a limit."""
    limits = [limit.split() for limit in _read(groups, "cpu.max")]
    return min((int(quota) / int(period) for quota, period in limits if quota != "max"), default=None)


def memory_limit(groups: list[Path]) -> int | None:
    """Return how many bytes of main memory the groups may use; None without a limit."""
    return min((int(text) for text in _read(groups, "memory.max") if text != "max"), default=None)


def out_of_memory_kills(groups: list[Path]) -> int:
    """Return how many processes of the groups the system has killed because memory ran out.

    Without such groups, count those of the whole machine.
    """
    texts = _read(groups, "memory.events")
    if not texts:
        with suppress(OSError):  # not Linux
            texts = [VMSTAT.read_text(encoding="ascii")]
    words = [line.split() for text in texts for line in text.splitlines()]
    return sum(int(value) for name, value in words if name == "oom_kill")


def _read(groups: list[Path], name: str) -> list[str]:
    found: list[str] = []
    for folder in groups:
        try:
            found.append((folder / name).read_text(encoding="ascii").strip())
        except OSError:  # the root group and groups of version 1 have no such file
            continue
    return found
