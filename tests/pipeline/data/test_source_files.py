"""From the files of a folder to a cache entry: names, fingerprints, files that are left out, and what is read again."""

import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.schema import FolderConfig
from pipeline.data import fingerprints
from pipeline.data.dataset_cache import SPLITS, open_dataset, prepare
from pipeline.data.image_io import write_png
from pipeline.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> FolderConfig:
    for number, split in enumerate(SPLITS):
        (tmp_path / "data" / split).mkdir(parents=True)
        for shade in range(3):
            colour = (10 * number, shade, 3)
            Image.new("RGB", (20, 16), colour).save(tmp_path / "data" / split / f"é {shade}.bmp")
    return FolderConfig("folder", "mine", str(tmp_path / "data"), (18, 18), (16, 16), channels_a=3, channels_b=1)


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for their fingerprints from now on."""
    read: list[str] = []
    digest = fingerprints.file_digest
    monkeypatch.setattr(fingerprints, "file_digest", lambda path: (read.append(path.name), digest(path))[1])
    return read


def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now = fingerprints.time.time_ns
    monkeypatch.setattr(fingerprints.time, "time_ns", lambda: now() + 10 * fingerprints.LONGEST_TICK_NS)


def test_fingerprints_and_entries_are_those_of_earlier_versions(data: FolderConfig, tmp_path: Path) -> None:
    for path in Path(data.root).glob("*/é 2.bmp"):
        path.unlink()
    prepared = prepare(data, tmp_path / "cache")
    assert (prepared.fingerprint, prepared.folder.name) == ("553581f91d088131", "68e4198130a0c573")


@pytest.mark.parametrize("deep", [False, True])
def test_arrays_are_the_files_that_numpy_saves(data: FolderConfig, tmp_path: Path, deep: bool) -> None:
    if deep:
        write_png(Path(data.root) / "trainA/é 1.png", np.full((9, 9, 3), 40_000, np.uint16))
    folder = prepare(data, tmp_path / "cache").folder
    assert open_dataset(folder).train_a.dtype == (np.uint16 if deep else np.uint8)
    for path in folder.glob("*.npy"):
        np.save(tmp_path / "again.npy", np.load(path))
        assert path.read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_decoding_keeps_few_images_in_memory(
    data: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(data.root)
    for number in range(300):
        os.link(root / "trainA/é 0.bmp", root / f"trainA/{number}.bmp")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
    tracemalloc.start()  # numpy reports its arrays
    try:
        folder = prepare(replace(data, size=(128, 128), load_size=(128, 128)), tmp_path / "cache").folder
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert open_dataset(folder).train_a.nbytes > 14_000_000
    assert peak < 3_000_000


def test_a_second_command_reads_no_file_again(
    data: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_time_pass(monkeypatch)
    first = prepare(data, tmp_path / "cache")
    read = read_files(monkeypatch)
    assert prepare(data, tmp_path / "cache") == first
    assert read == []


def overwrite(path: Path) -> None:
    """Other content of the same size, with the old time of change."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_another_in_place(path: Path) -> None:
    """A file that was written before the first command, moved to the place."""
    path.with_name("é 1.bmp").replace(path)
    Image.new("RGB", (20, 16), (1, 2, 3)).save(path.with_name("é 1.bmp"))


def touch_nothing_but_size(path: Path) -> None:
    Image.new("RGB", (20, 17), (1, 2, 3)).save(path)


@pytest.mark.parametrize("change", [overwrite, put_another_in_place, touch_nothing_but_size])
def test_a_changed_file_is_noticed(
    data: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    let_time_pass(monkeypatch)
    before = prepare(data, tmp_path / "cache")
    change(Path(data.root) / "testB/é 0.bmp")
    read = read_files(monkeypatch)
    after = prepare(data, tmp_path / "cache")
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint == prepare(data, tmp_path / "another cache").fingerprint
    assert "é 0.bmp" in read


def test_a_file_that_was_written_a_moment_ago_is_read_again(
    data: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(data, tmp_path / "cache")
    read = read_files(monkeypatch)
    prepare(data, tmp_path / "cache")
    assert len(read) == 12


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"files": {}, "checksum": 3}', "changed"])
def test_damaged_memories_are_not_believed(
    data: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    let_time_pass(monkeypatch)
    first = prepare(data, tmp_path / "cache")
    (memory,) = (tmp_path / "cache/data").glob("*.files")
    text = memory.read_text()
    place = text.index('"checksum"') - 5  # inside a digest
    memory.write_text(
        damage if damage != "changed" else text[:place] + "0000"[text[place] == "0" :] + text[place + 4 :]
    )
    read = read_files(monkeypatch)
    assert prepare(data, tmp_path / "cache") == first
    assert len(read) == 12


def spoil(root: Path) -> dict[str, Path]:
    """Bad files of several kinds, by their names."""
    bad = {name: root / name for name in ("testB/z.png", "trainA/a.png", "trainA/b.png", "trainB/caf\udce9.png")}
    (root / "testB/z.png").symlink_to("/dev/zero")
    (root / "trainA/a.png").write_bytes(b"no picture")
    (root / "trainA/b.png").mkdir()
    (root / "trainB/caf\udce9.png").touch()
    return bad


def test_bad_files_stop_the_command_unless_they_are_to_be_skipped(
    data: FolderConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = prepare(data, tmp_path / "cache")
    bad = spoil(Path(data.root))
    with pytest.raises(UserError, match=r"b\.png: cannot be read"):
        prepare(data, tmp_path / "cache")
    capsys.readouterr()
    for cache in ("cache", "cache", "new cache"):
        prepared = prepare(replace(data, on_bad="skip"), tmp_path / cache)
        # The images that are left are the data set: the same as if the bad files were not there.
        assert (prepared.fingerprint, prepared.folder.name) == (without.fingerprint, without.folder.name)
        assert prepared.left_out == tuple(sorted(bad))
        said = capsys.readouterr().err
        assert (
            f"{data.root}: 4 bad files are left out: testB/z.png, trainA/a.png, trainA/b.png, trainB/caf\\xe9.png"
            in said
        )


def test_many_bad_files_are_counted_and_the_first_ones_named(
    data: FolderConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        (Path(data.root) / f"trainA/{number}.png").touch()
    assert len(prepare(replace(data, on_bad="skip"), tmp_path).left_out) == 9
    said = capsys.readouterr().err
    assert "9 bad files" in said and "trainA/4.png, …" in said and "trainA/5.png" not in said


def test_skipping_leaves_two_images_or_stops(data: FolderConfig, tmp_path: Path) -> None:
    for shade in (0, 1):
        (Path(data.root) / f"testA/é {shade}.bmp").write_bytes(b"")
    with pytest.raises(UserError, match="testA: 1 images found, at least 2"):
        prepare(replace(data, on_bad="skip"), tmp_path)


def test_a_repaired_file_is_used_again(data: FolderConfig, tmp_path: Path) -> None:
    path = Path(data.root) / "trainA/new.png"
    path.touch()
    skipping = replace(data, on_bad="skip")
    assert prepare(skipping, tmp_path / "cache").left_out == ("trainA/new.png",)
    Image.new("RGB", (20, 16)).save(path)
    prepared = prepare(skipping, tmp_path / "cache")
    assert prepared.left_out == ()
    assert len(open_dataset(prepared.folder).train_a) == 4
