from pathlib import Path

import pytest

from pipeline.hardware import control_groups
from pipeline.hardware.control_groups import cpu_limit, memory_limit, out_of_memory_kills, own_groups


def test_kills_of_the_own_groups_are_counted_and_else_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmstat, group = tmp_path / "vmstat", tmp_path / "group"
    vmstat.write_text("nr_free_pages 7\noom_kill 5\n")
    monkeypatch.setattr(control_groups, "VMSTAT", vmstat)
    assert out_of_memory_kills([]) == out_of_memory_kills([group]) == 5
    group.mkdir()
    (group / "memory.events").write_text("low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    assert out_of_memory_kills([group]) == 2
    monkeypatch.setattr(control_groups, "VMSTAT", tmp_path / "none")
    assert out_of_memory_kills([]) == 0


def test_groups_of_version_1_alone_have_no_limits(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/elsewhere\n1:cpu:/\n")
    groups = own_groups(tmp_path, tmp_path / "cgroup")
    assert groups == [tmp_path]
    assert (cpu_limit(groups), memory_limit(groups)) == (None, None)


def test_the_narrowest_limit_of_all_groups_holds_and_kills_in_all_of_them_count(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for group, cores, size, kills in ((tmp_path, 150_000, 7, 1), (inner, 400_000, 5, 2)):
        (group / "cpu.max").write_text(f"{cores} 100000\n")
        (group / "memory.max").write_text(f"{size}\n")
        (group / "memory.events").write_text(f"oom 9\noom_kill {kills}\n")
    assert (cpu_limit([inner, tmp_path]), memory_limit([inner, tmp_path])) == (1.5, 5)
    assert out_of_memory_kills([inner, tmp_path]) == 3
