"""What killed sweeps leave is cleared; what belongs to living ones stays."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline import environment
from pipeline.environment import remove_process_folder, runtime_folder, temporary_files_here
from pipeline.errors import UserError
from pipeline.orchestration.leftovers import clear_leftovers, ray_sessions, tune_storage
from pipeline.processes import this_host


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short folder for temporary files that this test has for itself."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(environment, "temporary_base", lambda: folder)
    return folder


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_the_next_sweep_clears_what_a_killed_one_has_left(temporary: Path, tmp_path: Path) -> None:
    dead, host = dead_pid(), this_host()
    kept = [
        ray_sessions() / f"session_2026-01-01_00-00-00_000000_{os.getpid()}",
        runtime_folder() / str(os.getpid()),
        tune_storage(tmp_path),
        tmp_path / f"ray/another-host-{dead}",
        ray_sessions() / "session_of_another-program",
    ]
    cleared = [
        ray_sessions() / f"session_2026-01-01_00-00-00_000000_{dead}",
        runtime_folder() / str(dead),
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


def test_another_sweep_that_clears_the_same_folder_is_not_killed(temporary: Path, tmp_path: Path) -> None:
    """While it removes a folder, it has the folder open."""
    folder = runtime_folder() / str(dead_pid())
    folder.mkdir()
    opens = f"import os; os.open({str(folder)!r}, os.O_RDONLY); print('open', flush=True); input()"
    clearing = subprocess.Popen([sys.executable, "-c", opens], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert clearing.stdout and clearing.stdout.readline() == "open\n"
    clear_leftovers(tmp_path)
    assert not folder.exists()
    assert clearing.communicate("\n") and clearing.returncode == 0


def test_temporary_files_are_where_the_next_sweep_clears_them(temporary: Path) -> None:
    before = tempfile.gettempdir()
    with temporary_files_here():
        assert Path(tempfile.mkdtemp()).parent == runtime_folder() / str(os.getpid())
    assert tempfile.gettempdir() == before
    remove_process_folder()
    assert not list(runtime_folder().iterdir())


def test_the_folder_for_sockets_is_short_and_of_this_user_alone(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime_folder().parent == temporary
    runtime_folder().chmod(0o755)
    with pytest.raises(UserError, match="not a folder of this user alone"):
        runtime_folder()
    monkeypatch.setattr(environment, "temporary_base", lambda: Path(f"/tmp/{'long' * 30}"))
    assert len(str(runtime_folder())) < 60
