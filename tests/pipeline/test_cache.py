import os
import threading
from pathlib import Path

import pytest

from pipeline.cache import DamagedEntryError, cached, content_key, remembered


def read(entry: Path) -> str:
    text = (entry / "text" if entry.is_dir() else entry).read_text()
    if text == "damaged":
        raise DamagedEntryError("it is damaged")
    return text


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(entry: Path) -> None:
        made.append(entry)
        entry.write_text("value")

    assert [cached(tmp_path / "kind/key.txt", make, read) for _ in range(3)] == ["value"] * 3
    assert len(made) == 1


@pytest.mark.parametrize("folder", [False, True])
def test_a_damaged_entry_is_named_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: bool
) -> None:
    entry = tmp_path / "key.entry"

    def make(partial: Path, text: str = "value") -> None:
        if folder:
            partial.mkdir()
        (partial / "text" if folder else partial).write_text(text)

    make(entry, "damaged")
    assert cached(entry, make, read) == "value"
    said = capsys.readouterr().err
    assert str(entry) in said and "it is damaged" in said
    assert cached(entry, make, read) == "value"
    assert not capsys.readouterr().err


def test_an_entry_whose_making_fails_is_absent(tmp_path: Path) -> None:
    def fail(entry: Path) -> None:
        entry.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        cached(tmp_path / "key.txt", fail, read)
    assert not (tmp_path / "key.txt").exists() and not list(tmp_path.glob(".*"))


def test_of_several_that_ask_at_once_one_makes_the_entry(tmp_path: Path) -> None:
    made: list[int] = []
    started = threading.Event()

    def make(entry: Path) -> None:
        made.append(1)
        started.wait(10)
        entry.write_text("value")

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(cached(tmp_path / "key.txt", make, read))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert (found, made) == (["value"] * 4, [1])


def test_a_key_is_that_of_equal_content_in_any_order() -> None:
    # The value is pinned: keys of trials and caches of earlier versions depend on it.
    assert content_key({"b": [1, 2.5], "a": None}) == content_key({"a": None, "b": [1, 2.5]}) == "6b1d84977084473f"


def test_an_entry_that_many_trials_ask_for_is_read_once_until_it_changes(tmp_path: Path) -> None:
    reads: list[Path] = []

    def count(entry: Path) -> str:
        reads.append(entry)
        return read(entry)

    def make(entry: Path) -> None:
        entry.write_text("value")

    entry = tmp_path / "key.txt"
    assert [remembered(entry, make, count) for _ in range(3)] == ["value"] * 3
    assert len(reads) == 1
    entry.write_text("changed")
    os.utime(entry, (1, 1))
    assert remembered(entry, make, count) == "changed"
    entry.unlink()
    assert remembered(entry, make, count) == "value"
