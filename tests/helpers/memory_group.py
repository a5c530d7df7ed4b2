"""A control group with little memory, in which the kernel really kills processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from faults import until

# The folder of version 1 and that of version 2, with the file of the limit.
TREES = {"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"}


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a group for the body; a process joins it by writing its id into cgroup.procs. Skip where none can be made.

    At the end it waits until the last of them has ended.
    """
    group = next(filter(None, map(_made, TREES)), None)
    if not group:
        pytest.skip("no control group with a limit of memory can be made here")
    try:
        (group / TREES[str(group.parent)]).write_text(str(limit_bytes))
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def _made(tree: str) -> Path | None:
    group = Path(tree, f"cut-ablation-test-{os.getpid()}")
    with suppress(OSError):
        group.mkdir()
        if (group / TREES[tree]).exists():
            return group
        group.rmdir()
    return None
