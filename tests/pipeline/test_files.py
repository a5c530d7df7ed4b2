import stat
from pathlib import Path

import pytest

from pipeline.files import remove_leftovers, replacing


def test_a_file_is_replaced_only_when_the_body_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "new/file.txt"
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


def test_leftovers_of_the_same_target_alone_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".data.0a1b2c3d.partial").mkdir()
    for kept in ("data.zip.partial", ".data.zip.0a1b2c3d.partial", ".other.0a1b2c3d.partial", "data"):
        (tmp_path / kept).touch()
    (tmp_path / ".data.0a1b2c3d.partial/file").touch()
    remove_leftovers(tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".data.zip.0a1b2c3d.partial",
        ".other.0a1b2c3d.partial",
        "data",
        "data.zip.partial",
    ]
