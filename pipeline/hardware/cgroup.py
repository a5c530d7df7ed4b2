"""What a container or a job of a batch system may use of the machine: the limits of control groups (cgroup v2)."""

from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def own_groups(root: Path = ROOT, own: Path = OWN) -> list[Path]:
    """The folders of this process's control group and of those around it, up to the root; each may have limits."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    # Version 2 has the one line '0::/path'. In a container the path may be outside what is mounted.
    paths = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    inner = root / paths[0] if paths else root
    return [folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents]


def cpu_limit(groups: list[Path]) -> float | None:
    """How many cores the groups may use in the mean; None where none is limited."""
    limits = [
        int(quota) / int(period)
        for quota, _, period in (text.partition(" ") for text in _read(groups, "cpu.max"))
        if quota.isdigit() and period.strip().isdigit()
    ]
    return min(limits, default=None)


def memory_limit(groups: list[Path]) -> int | None:
    """How many bytes of main memory the groups may use; None where none is limited."""
    return min((int(text) for text in _read(groups, "memory.max") if text.isdigit()), default=None)


def _read(groups: list[Path], name: str) -> list[str]:
    found: list[str] = []
    for folder in groups:
        try:
            found.append((folder / name).read_text(encoding="ascii").strip())
        except OSError:  # the root group and groups of version 1 have no such file
            continue
    return found
