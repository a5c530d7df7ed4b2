"""What is special to the lock of a trial. `test_locks.py` has the locks of all kinds."""

from pathlib import Path

from pipeline.trial.lock import claimed, is_claimed


def test_asking_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path / "trials/never")
    assert not list(tmp_path.iterdir())


def test_a_folder_can_be_deleted_while_its_lock_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"
    folder.mkdir()
    with claimed(folder):
        folder.rmdir()
        assert is_claimed(folder)
    assert not is_claimed(folder)
