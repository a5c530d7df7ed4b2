"""The lock of a trial, with real processes and SIGKILL, on file systems with and without file locks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.trial.lock import TakenError, claimed, is_claimed

HOLD = """
import sys
from pathlib import Path
from pipeline.trial.lock import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock. It is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_trial_has_one_trainer_and_is_free_however_that_one_ends(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"
    assert not is_claimed(folder)
    with holder(folder):
        assert is_claimed(folder)
        with pytest.raises(TakenError, match=r"0123456789abcdef.*another process"), claimed(folder):
            pass
    assert not is_claimed(folder)
    with claimed(folder):
        pass


def test_asking_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path / "trials/never")
    assert not list(tmp_path.iterdir())


def test_a_folder_can_be_deleted_while_its_lock_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"
    folder.mkdir()
    with holder(folder):
        folder.rmdir()
        assert is_claimed(folder)
