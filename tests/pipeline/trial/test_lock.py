import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.trial.lock import TakenError, claimed, is_claimed

HOLD = """
import sys, time
from pathlib import Path
from pipeline.trial.lock import claimed
with claimed(Path(sys.argv[1])):
    Path(sys.argv[1], "held").touch()
    time.sleep(60)
"""


def test_a_trial_has_one_trainer_and_is_free_however_that_one_ends(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"
    assert not is_claimed(folder)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)])
    try:
        while not (folder / "held").exists():
            time.sleep(0.02)
        assert is_claimed(folder)
        with pytest.raises(TakenError, match=r"0123456789abcdef.*another process"), claimed(folder):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert not is_claimed(folder)
    with claimed(folder):
        pass


def test_asking_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path / "never")
    assert not (tmp_path / "never").exists()
