"""Each fault of folders, locks, disks, cores and the compiler is provoked."""

import errno
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.objective import Batch
from pipeline.checks import machine
from pipeline.checks.check import Check, within
from pipeline.checks.machine import (
    check_compiler,
    check_cores,
    check_disks,
    check_locks,
    check_writable,
    checkpoint_gb,
    sweep_folders,
)
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.hardware.control_groups import cpu_limit, memory_limit, own_groups
from pipeline.locks import has_file_locks
from pipeline.rng import rng_for
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import build_state


def test_a_folder_that_is_a_file_or_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file is a file, not a folder" in check_writable("paths.trials", tmp_path / "file/inside").found
    refused = check_writable("paths.logs", Path("/proc/logs"))
    assert refused.status == "fault" and "cannot write into /proc/logs" in refused.found
    assert refused.mend == "Choose another folder with paths.logs=…"
    assert check_writable("paths.logs", tmp_path / "a/b").found == f"{tmp_path / 'a/b'} can be created"
    assert not (tmp_path / "a").exists()


def test_a_read_only_file_system_is_a_fault(tmp_path: Path) -> None:
    mounting = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        found = check_writable("paths.trials", tmp_path / "trials")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert found.status == "fault" and "(Read-only file system)" in found.found


def test_two_processes_are_not_given_one_lock(tmp_path: Path) -> None:
    assert check_locks(tmp_path).status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_flock_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    patched = "import fcntl\ndef refuse(*_): raise OSError(37, 'No locks available')\nfcntl.flock = refuse\n"
    monkeypatch.setattr(machine, "_ASK_FOR_LOCK", patched + machine._ASK_FOR_LOCK)
    monkeypatch.setattr("fcntl.flock", refuse)
    found = check_locks(tmp_path)
    has_file_locks.cache_clear()
    assert found.status == "ok" and "leases of 120 s" in found.found
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_whose_locks_lock_nothing_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filelock._unix.fcntl.flock", lambda *_: None)
    # The second process takes a lock that the first one only seems to have.
    found = check_locks(tmp_path)
    assert found.status == "fault" and "two processes got the same lock" in found.found
    assert check_locks(Path("/proc")).status == "fault"
    monkeypatch.setattr(machine, "_ASK_FOR_LOCK", "raise SystemExit('boom')")
    assert "could not ask for a lock" in check_locks(tmp_path).found and "(boom)" in check_locks(tmp_path).found


def test_a_disk_must_have_room_for_what_a_sweep_leaves_in_all_its_folders(tmp_path: Path) -> None:
    (enough,) = check_disks([("paths.trials", tmp_path, 1e-9)])
    assert enough.status == "ok" and "GB free for paths.trials, which need up to 0.0 GB" in enough.found
    (short,) = check_disks([("paths.trials", tmp_path, 1e9), ("paths.cache", tmp_path, 1.0)])
    assert short.status == "fault" and "for paths.trials, paths.cache, which need up to 1000000001.0 GB" in short.found


@pytest.mark.parametrize("model", ["cut", "cyclegan"])
def test_a_checkpoint_is_as_large_as_predicted(tiny: Callable[..., Config], tmp_path: Path, model: str) -> None:
    config = tiny(f"model={model}", "data.size=64", "model.generator.channels=16", "model.discriminator.channels=16")
    state = build_state(config, torch.device("cpu"))
    images = torch.rand(1, 3, 64, 64, generator=rng_for(0, "images", 0))
    batch = Batch(images, images)
    StepRunner(state).run(prepare_step(state, batch, rng_for(0, "step", 0)))
    save_checkpoint(tmp_path / "last.pt", state.state_dict())
    assert (tmp_path / "last.pt").stat().st_size / 1e9 == pytest.approx(checkpoint_gb(config), rel=0.1)


def test_the_room_that_is_needed_follows_from_trials_and_images() -> None:
    def needs(trials: int, *overrides: str) -> dict[str, float]:
        return {name: needed for name, _, needed in sweep_folders(compose_config(overrides), trials)}

    few, many = (needs(trials, "task=horse2zebra") for trials in (1, 24))
    assert many["paths.trials"] - few["paths.trials"] == pytest.approx(23 * 2 * 0.18, rel=0.05)
    assert few["paths.cache"] - needs(24)["paths.cache"] == pytest.approx(2661 * 3 * 286 * 286 / 1e9)


def test_a_check_that_hangs_or_fails_is_a_fault_in_its_time() -> None:
    never = threading.Event()
    hung = within(0.05, "disk", lambda: Check("disk", "ok", str(never.wait())))
    never.set()
    assert (hung.status, hung.found) == ("fault", "no answer within 0.05 s")
    broken = within(5.0, "disk", lambda: Check("disk", "ok", str(1 / 0)))
    assert broken.status == "fault" and "ZeroDivisionError" in broken.found


def test_limits_of_a_container_are_those_of_all_groups_around_it(tmp_path: Path) -> None:
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    own = tmp_path / "cgroup"
    own.write_text("4:pids:/elsewhere\n0::/outer/inner\n")
    groups = own_groups(tmp_path, own)
    assert groups == [inner, tmp_path / "outer", tmp_path]
    assert cpu_limit(groups) is None and memory_limit(groups) is None
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "outer/cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("max\n")
    (tmp_path / "outer/memory.max").write_text("8000000000\n")
    assert cpu_limit(groups) == 1.5 and memory_limit(groups) == 8_000_000_000
    # A container with groups of its own sees itself at the root.
    own.write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert cpu_limit(own_groups(tmp_path, own)) == 2.0


def test_limits_of_version_1_of_control_groups_count_too(tmp_path: Path) -> None:
    for folder in ("memory/job", "cpu/job"):
        (tmp_path / folder).mkdir(parents=True)
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/job\n2:cpu,cpuacct:/job\n1:pids:/\n0::/\n")
    groups = own_groups(tmp_path, own)
    for folder, quota, limit in (("job", "250000", "8000000000"), ("", "-1", "9223372036854771712")):
        (tmp_path / "cpu" / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / folder / "cpu.cfs_period_us").write_text("100000\n")
        (tmp_path / "memory" / folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert cpu_limit(groups) == 2.5 and memory_limit(groups) == 8_000_000_000
    own.write_text("4:memory:/\n2:cpu,cpuacct:/\n")
    assert cpu_limit(own_groups(tmp_path, own)) is None and memory_limit(own_groups(tmp_path, own)) is None


def test_a_kernel_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert own_groups(tmp_path, tmp_path / "missing") == []
    assert cpu_limit([]) is None and memory_limit([]) is None


def test_fewer_cores_by_time_than_by_number_are_noted() -> None:
    assert check_cores(8, 4, None).status == "ok" and "4 of 8" in check_cores(8, 4, None).found
    assert check_cores(8, 4, 4.0).status == "ok"
    limited = check_cores(8, 8, 2.5)
    assert limited.status == "note" and "2.5 cores" in limited.found and "for 2 whole cores" in limited.mend


def test_a_missing_compiler_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = check_compiler()
    assert found.status == "note" and "no-such-compiler" in found.found
