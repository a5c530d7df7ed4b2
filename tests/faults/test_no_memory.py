"""The main memory runs out under a sweep: the kernel kills a process, or Ray ends workers before that."""

import subprocess
import sys
from pathlib import Path

import pytest
from faults import Results, assert_as_undisturbed, assert_nothing_is_left, results, start, trial_processes, until
from memory_group import memory_group

pytestmark = pytest.mark.fault
# Takes memory in a group until the kernel has killed a process of it.
HOG = """
import os, pathlib, sys
group = pathlib.Path(sys.argv[1])
(group / "cgroup.procs").write_text(str(os.getpid()))
counters = [file for file in (group / "memory.oom_control", group / "memory.events") if file.exists()]
taken = []
while all("oom_kill 0" in file.read_text() for file in counters):
    taken.append(b"x" * 2**24)
"""


@pytest.mark.usefixtures("drawn")
def test_a_trial_that_the_kernel_kills_runs_again_with_more_memory(pair: Path, undisturbed: Results) -> None:
    with memory_group(5 * 10**9) as group:
        sweep = start("sweep", "pair", RAY_memory_monitor_refresh_ms="0")
        (group / "cgroup.procs").write_text(str(sweep.pid))
        until(lambda: sweep.poll() is not None or len(list(pair.glob("trials/*/last.pt"))) == 2)
        assert len(trial_processes(sweep)) == 2
        hog = subprocess.run([sys.executable, "-c", HOG, str(group)])
        assert hog.returncode == 0, f"the kernel killed another process than a trial: {hog.returncode}"
        said, errors = sweep.communicate(timeout=300)
        assert sweep.returncode == 0, said + errors
    assert "the main memory ran out" in said and "lost, and will run again" not in said, said
    assert "will run again with more of it" in said, said
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(f"sqlite:///{pair / 'mlflow.db'}", [sweep])


@pytest.mark.usefixtures("drawn")
def test_trials_whose_workers_ray_ends_for_memory_say_so_and_go_on_when_there_is_room(
    pair: Path, undisturbed: Results
) -> None:
    full = start("sweep", "pair", RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="200")
    said, errors = full.communicate(timeout=300)
    assert full.returncode == 1, said + errors
    assert said.count("is not done: Ray ended its worker, because the main memory is nearly full") == 2, said
    assert "will run again with more of it" in said, said
    again = start("sweep", "pair", "retry=failed")
    said, errors = again.communicate(timeout=300)
    assert again.returncode == 0, said + errors
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(f"sqlite:///{pair / 'mlflow.db'}", [full, again])
