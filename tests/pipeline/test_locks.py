"""Locks between real processes, ended by real signals, on file systems with and without file locks (flock)."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLease, Timeout

from pipeline import locks
from pipeline.locks import LEASE_SECONDS, file_lock, has_file_locks, is_left_behind
from pipeline.trial import lock as trial_lock
from pipeline.trial.lock import TakenError, claimed, is_claimed

# Arguments: the error of flock or 0, a host's name or '', the seconds of a lease, a trial's folder.
HOLD = """
import fcntl, socket, sys
from pathlib import Path

error, host, seconds, folder = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])

def refuse(*_):
    raise OSError(error, "no locks here")

if error:
    fcntl.flock = refuse
if host:
    socket.gethostname = lambda: host
from pipeline import locks
locks.LEASE_SECONDS, locks.RENEWAL_SECONDS = seconds, seconds / 10
from pipeline.trial.lock import claimed
with claimed(folder):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, error: int, host: str = "", seconds: float = LEASE_SECONDS) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a trial. It is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(error), host, str(seconds), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline() == "held\n", process.stderr.read()
            yield process
        finally:
            process.kill()


@pytest.fixture(params=[0, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def error(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The error of flock in this process too. 0: it works."""
    forget_file_systems()
    if request.param:
        refuse_flock(monkeypatch, request.param)
    yield request.param
    forget_file_systems()


def forget_file_systems() -> None:
    has_file_locks.cache_clear()


def refuse_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    forget_file_systems()
    refuse_flock(monkeypatch, errno.ENOLCK)
    yield errno.ENOLCK
    forget_file_systems()


def test_flock_is_used_where_it_works(tmp_path: Path, error: int) -> None:
    lock = file_lock(tmp_path / "a.lock")
    assert isinstance(lock, SoftFileLease if error else FileLock)
    with lock:
        assert [path.name for path in tmp_path.iterdir()] == ["a.lease" if error else "a.lock"]


def test_a_lock_has_one_holder_and_is_free_when_that_one_was_killed(tmp_path: Path, error: int) -> None:
    folder = tmp_path / "0123456789abcdef"
    with holder(folder, error) as first:
        assert is_claimed(folder)
        with pytest.raises(TakenError, match="0123456789abcdef"), claimed(folder):
            pass
        first.kill()
        first.wait()
        with claimed(folder):
            assert is_claimed(folder)
    assert not is_claimed(folder)


def test_a_holder_that_ends_well_frees_its_lock(tmp_path: Path, error: int) -> None:
    folder = tmp_path / "0123456789abcdef"
    with holder(folder, error) as first:
        first.communicate(timeout=60)
        assert first.returncode == 0
        assert not is_claimed(folder)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_store_s_lock_may_be_taken_again_by_its_thread(tmp_path: Path, error: int, reentrant: bool) -> None:
    with file_lock(tmp_path / "a.lock", reentrant=reentrant):
        again = file_lock(tmp_path / "a.lock", reentrant=reentrant)
        if reentrant:
            with again:
                pass
        else:
            with pytest.raises(Timeout):
                again.acquire(timeout=0)


def test_a_lock_of_another_host_is_kept_while_that_host_renews_it(
    tmp_path: Path, no_flock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seconds = tmp_path / "0123456789abcdef", 1.0
    monkeypatch.setattr(locks, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", seconds / 10)
    with holder(folder, no_flock, "other-host", seconds):
        lock = file_lock(tmp_path / ".locks" / f"{folder.name}.lock")
        with pytest.raises(Timeout):
            lock.acquire(timeout=2.5 * seconds)
        assert is_claimed(folder)


def test_a_lock_of_another_host_that_died_is_taken_over_after_the_stated_time(
    tmp_path: Path, no_flock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seconds = tmp_path / "0123456789abcdef", 1.0
    monkeypatch.setattr(locks, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", seconds / 10)
    with holder(folder, no_flock, "other-host", seconds) as first:
        first.kill()
        first.wait()
    lock, started = file_lock(tmp_path / ".locks" / f"{folder.name}.lock"), time.monotonic()
    with lock:
        assert time.monotonic() - started >= seconds


def test_asking_for_a_lock_of_a_dead_host_does_not_wait(tmp_path: Path, no_flock: int) -> None:
    folder = tmp_path / "0123456789abcdef"
    with holder(folder, no_flock, "other-host") as first:
        first.kill()
        first.wait()
    assert is_claimed(folder)
    lease = tmp_path / ".locks" / f"{folder.name}.lease"
    for age, seems_alive in ((LEASE_SECONDS - 60, True), (LEASE_SECONDS + 60, False), (-10 * LEASE_SECONDS, True)):
        os.utime(lease, (time.time() - age,) * 2)
        assert is_claimed(folder) == seems_alive
        assert is_left_behind(file_lock(lease.with_suffix(".lock"))) != seems_alive


def test_a_lock_whose_owner_was_killed_before_it_wrote_its_name_is_taken_over(tmp_path: Path, no_flock: int) -> None:
    lease = tmp_path / "a.lease"
    lease.touch()
    with pytest.raises(Timeout):
        file_lock(tmp_path / "a.lock").acquire(timeout=0)
    os.utime(lease, (time.time() - LEASE_SECONDS - 1,) * 2)
    with file_lock(tmp_path / "a.lock").acquire(timeout=5):
        assert lease.read_bytes()


def test_a_trial_waits_for_the_lock_of_a_dead_host_and_says_so(
    tmp_path: Path, no_flock: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, seconds = tmp_path / "0123456789abcdef", 1.0
    for module in (locks, trial_lock):
        monkeypatch.setattr(module, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", seconds / 10)
    with holder(folder, no_flock, "other-host", seconds) as first:
        first.kill()
        first.wait()
    lease = tmp_path / ".locks" / f"{folder.name}.lease"
    os.utime(lease, (time.time() - 2 * seconds,) * 2)
    with claimed(folder):
        assert f"{lease} was not renewed" in capfd.readouterr().err


def test_a_lease_that_another_process_clears_first_is_no_error(
    tmp_path: Path, no_flock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = tmp_path / "a.lease"
    lease.touch()
    os.utime(lease, (time.time() - LEASE_SECONDS - 1,) * 2)

    def cleared_meanwhile(path: Path) -> bytes:
        path.unlink()
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", cleared_meanwhile)
        lock = file_lock(tmp_path / "a.lock")
    with lock.acquire(timeout=5):
        assert lease.read_bytes()


def test_a_lock_is_never_of_another_kind_than_the_file_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that use two kinds would both get the lock."""
    forget_file_systems()
    assert has_file_locks(tmp_path)
    refuse_flock(monkeypatch, errno.ENOSYS)
    with pytest.raises((OSError, NotImplementedError)):
        file_lock(tmp_path / "a.lock").acquire(timeout=5)
    forget_file_systems()


def test_a_trial_that_lost_its_lock_ends_before_it_writes(tmp_path: Path, no_flock: int) -> None:
    folder = tmp_path / "0123456789abcdef"
    with holder(folder, no_flock, seconds=1.0) as first:
        (tmp_path / ".locks" / f"{folder.name}.lease").unlink()
        assert first.wait(timeout=60) == 1
        assert first.stderr and "this lock was lost" in first.stderr.read()


def test_a_fault_of_the_disk_is_not_taken_for_missing_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_file_systems()
    refuse_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="no locks here"):
        file_lock(tmp_path / "a.lock").acquire(timeout=5)
    forget_file_systems()


def test_a_lock_creates_nothing_before_it_is_acquired(tmp_path: Path, error: int) -> None:
    lock = file_lock(tmp_path / "new/deeper/a.lock")
    assert not list(tmp_path.iterdir())
    with lock:
        assert len(list((tmp_path / "new/deeper").iterdir())) == 1
