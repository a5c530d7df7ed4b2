"""Control groups, by which containers and batch systems restrict a process. Versions 1 and 2. Needs no torch."""

from contextlib import suppress
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")
# Version 1 says 'no limit' by the largest number of whole pages.
UNLIMITED = 2**62


def own_groups(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> list[Path]:
    """Return the folders of this process's control groups and their parents. Each may have limits."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # a kernel without control groups
        return []
    groups: list[Path] = []
    for line in lines:
        # Version 2 has one line, '0::/path'. Version 1 has one for each tree, '4:cpu,cpuacct:/path'.
        _, kinds, path = line.split(":", 2)
        for kind in {"", "cpu", "memory"}.intersection(kinds.split(",")):
            top = root / kind
            # In a container the path may lie outside of the mounted tree.
            inner = top / path.strip("/")
            groups += [folder for folder in (inner, *inner.parents) if folder == top or top in folder.parents]
    return groups


def cpu_limit(groups: list[Path]) -> float | None:
    """Return how many cores the groups may use on average; None without a limit."""
    limits = [limit.split() for limit in _read(groups, "cpu.max")]
    pairs = zip(_read(groups, "cpu.cfs_quota_us"), _read(groups, "cpu.cfs_period_us"), strict=True)
    limits += [[quota, period] for quota, period in pairs if quota != "-1"]
    return min((int(quota) / int(period) for quota, period in limits if quota != "max"), default=None)


def memory_limit(groups: list[Path]) -> int | None:
    """Return how many bytes of main memory the groups may use; None without a limit."""
    limits = [int(text) for text in _read(groups, "memory.max") if text != "max"]
    limits += [limit for text in _read(groups, "memory.limit_in_bytes") if (limit := int(text)) < UNLIMITED]
    return min(limits, default=None)


def out_of_memory_kills(groups: list[Path]) -> int:
    """Return how many processes of the groups the system has killed because memory ran out.

    Without such groups, count those of the whole machine.
    """
    texts = _read(groups, "memory.events") + _read(groups, "memory.oom_control")
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
        except OSError:  # each version and each tree has its own files
            continue
    return found
