"""What killed sweeps leave is cleared; what belongs to living ones stays."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.environment import runtime_folder
from pipeline.errors import UserError
from pipeline.orchestration.leftovers import clear_leftovers, ray_sessions, tune_storage


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short folder for temporary files that this test has for itself."""
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_the_next_sweep_clears_what_a_killed_one_has_left(temporary: Path, tmp_path: Path) -> None:
    dead, host = dead_pid(), platform.node()
    kept = [
        ray_sessions() / f"session_2026-01-01_00-00-00_000000_{os.getpid()}",
        runtime_folder() / f"sockets/{os.getpid()}-abc",
        tune_storage(tmp_path),
        tmp_path / f"ray/another-host-{dead}",
        ray_sessions() / "session_of_another-program",
    ]
    cleared = [
        ray_sessions() / f"session_2026-01-01_00-00-00_000000_{dead}",
        runtime_folder() / f"sockets/{dead}-abc",
        tmp_path / f"ray/{host}-{dead}",
    ]
    for folder in (*kept, *cleared):
        folder.mkdir(parents=True)
    link = ray_sessions() / f"session_2026-01-02_00-00-00_000000_{dead}"
    link.symlink_to(kept[0])
    agent, other = (
        subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=(folder / "agent.log").open("w")
        )
        for folder in (cleared[0], kept[0])
    )
    clear_leftovers(tmp_path)
    assert agent.wait(timeout=30) < 0, "a process of the dead sweep's Ray is killed"
    assert other.poll() is None and link.is_symlink() and (kept[0] / "agent.log").exists()
    other.communicate(b"\n")
    assert not [folder for folder in cleared if folder.exists()]
    assert all(folder.exists() for folder in kept)


def test_the_folder_for_sockets_is_short_and_of_this_user_alone(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    assert runtime_folder().parent == temporary
    runtime_folder().chmod(0o755)
    with pytest.raises(UserError, match="not a folder of this user alone"):
        runtime_folder()
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'long' * 30}")
    assert len(str(runtime_folder())) < 60
