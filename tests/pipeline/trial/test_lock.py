"""What is special to the lock of a trial. `test_locks.py` has the locks of all kinds."""

from pathlib import Path

import pytest

from pipeline.trial.lock import TakenError, claimed, is_claimed


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


def test_one_trial_of_a_sqlite_store_has_one_lock_in_all_working_folders(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine/trials/0123456789abcdef", tmp_path / "other/trials/0123456789abcdef"
    for folder in (mine, other):
        folder.mkdir(parents=True)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    with claimed(mine, store):
        assert is_claimed(other, store)
        assert not is_claimed(other, f"sqlite:///{tmp_path}/another.db")
        with pytest.raises(TakenError), claimed(other, store):
            pass
    assert not is_claimed(other, store)
