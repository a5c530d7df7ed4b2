import errno
import os
import resource
import secrets
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.files import remove_leftovers, replacing


def test_a_file_is_replaced_only_when_the_body_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "new/er/file.txt"
    with replacing(target) as partial:
        partial.write_text("one")
        assert not target.exists()
    with pytest.raises(KeyboardInterrupt), replacing(target) as partial:
        partial.write_text("half of tw")
        raise KeyboardInterrupt
    assert {path.name: path.read_text() for path in target.parent.iterdir()} == {"file.txt": "one"}


def test_a_folder_is_created_only_when_the_body_succeeds(tmp_path: Path) -> None:
    for fails in (True, False):
        try:
            with replacing(tmp_path / "folder") as partial:
                partial.mkdir()
                (partial / "inner.txt").write_text("one")
                if fails:
                    raise ValueError
        except ValueError:
            assert not list(tmp_path.iterdir())
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")] == ["folder/inner.txt"]


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "file").read_text() == "one"  # the outer one ends last
    assert len(list(tmp_path.iterdir())) == 1


def test_other_users_can_read_a_replaced_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("plain")
    with replacing(tmp_path / "file") as partial:
        partial.write_text("text")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "file")]
    assert modes[0] == modes[1]


def test_an_error_of_a_full_disk_has_the_name_of_the_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # numpy then writes a part, as on a full disk
    try:
        with pytest.raises(OSError) as of_numpy, replacing(tmp_path / "images.npy") as partial:
            np.save(partial.with_name(f"{partial.name}.npy"), np.zeros(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(OSError) as of_the_system, replacing(tmp_path / "images.npy"):
        raise OSError(errno.ENOSPC, "No space left on device")
    for caught in (of_numpy, of_the_system):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(tmp_path / "images.npy")


WRITE = """
import sys
from pathlib import Path
from pipeline.files import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.mkdir()
    (partial / "half").touch()
    print(partial.name, flush=True)
    sys.stdin.read()
"""


def test_only_what_a_dead_process_left_of_the_same_target_is_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "data")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        replacing(tmp_path / "data") as own,
    ):
        try:
            assert living.stdout and killed.stdout
            names = [process.stdout.readline().strip() for process in (living, killed) if process.stdout]
            assert str(living.pid) in names[0]
            killed.kill()
            killed.wait()
            own.touch()
            other = names[1].replace("data", "data.zip")
            (tmp_path / other).touch()
            remove_leftovers(tmp_path / "data")
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[0], own.name, other])
        finally:
            living.kill()


def test_a_leftover_of_another_host_is_removed_after_a_day(tmp_path: Path) -> None:
    for age in (0.0, 80_000.0, 90_000.0, -90_000.0):  # seconds; the last one after a clock was set back
        partial = tmp_path / f".data.0a1b2c3d-17-4711-{secrets.token_hex(4)}.partial"
        partial.touch()
        os.utime(partial, (time.time() - age,) * 2)
    remove_leftovers(tmp_path / "data")
    left = sorted(round((time.time() - path.stat().st_mtime) / 10_000) for path in tmp_path.iterdir())
    assert left == [-9, 0, 8]


def test_what_earlier_versions_left_is_removed_and_files_of_others_are_not(tmp_path: Path) -> None:
    (tmp_path / ".data.0a1b2c3d.partial").touch()
    others = [".data.backup.partial", ".data.0a1b2c3d", ".other.0a1b2c3d.partial", ".data.0a1b2c3d-17-0a1b2c3d.partial"]
    for name in others:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_folder_that_cannot_be_removed_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with pytest.raises(ValueError, match="of the body"), replacing(tmp_path / "folder") as partial:
        partial.mkdir()
        monkeypatch.setattr(os, "rmdir", refuse)
        raise ValueError("of the body")


def test_a_process_with_the_id_of_a_dead_one_keeps_nothing_alive(tmp_path: Path) -> None:
    with replacing(tmp_path / "data") as partial:
        partial.touch()
        host, pid, start, token = partial.name.removeprefix(".data.").removesuffix(".partial").split("-")
        leftover = tmp_path / f".data.{host}-{pid}-{int(start) - 1}-{token}.partial"
        leftover.touch()
        remove_leftovers(tmp_path / "data")
        assert not leftover.exists()
