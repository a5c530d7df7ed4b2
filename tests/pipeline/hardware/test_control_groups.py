from pathlib import Path

import pytest

from pipeline.hardware import control_groups
from pipeline.hardware.control_groups import out_of_memory_kills


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
