import os
import subprocess
import sys
from pathlib import Path

import pytest
from memory_group import memory_group

from pipeline.hardware import control_groups
from pipeline.hardware.control_groups import cpu_limit, memory_limit, out_of_memory_kills


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
    (group / "memory.events").unlink()
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert out_of_memory_kills([group]) == 3
    monkeypatch.setattr(control_groups, "VMSTAT", tmp_path / "none")
    assert out_of_memory_kills([]) == 0


def test_the_narrowest_limit_of_all_groups_holds_and_kills_in_all_of_them_count(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for group, cores, size, kills in ((tmp_path, 150_000, 7, 1), (inner, 400_000, 5, 2)):
        (group / "cpu.max").write_text(f"{cores} 100000\n")
        (group / "memory.max").write_text(f"{size}\n")
        (group / "memory.events").write_text(f"oom 9\noom_kill {kills}\n")
    assert (cpu_limit([inner, tmp_path]), memory_limit([inner, tmp_path])) == (1.5, 5)
    assert out_of_memory_kills([inner, tmp_path]) == 3


# The process of the sweep holds more memory than the trial when memory runs out.
IN_A_GROUP = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
import stub_trials
from pipeline.trial import server
from pipeline.trial.process import TrialProcess
server.PRELOAD.clear()
held = b"x" * (350 * 2**20)
with server.trial_server() as address:
    print(TrialProcess(address, stub_trials.greedy, stub_trials.JOB).receive())
"""


def test_if_memory_runs_out_the_kernel_kills_the_trial_and_that_is_how_it_ended() -> None:
    with memory_group(600 * 2**20) as group:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", IN_A_GROUP, str(group)]
        sweep = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120)
    assert sweep.returncode == 0, sweep.stderr
    assert "ending='memory'" in sweep.stdout and "the main memory ran out" in sweep.stdout
