"""Checking and unpacking archives that the tests make."""

import stat
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from archive_server import FILE, zipped

from pipeline.data import download as downloads
from pipeline.data.download import unpack
from pipeline.errors import UserError


def keep_png(entry: PurePosixPath) -> PurePosixPath | None:
    return PurePosixPath("out", entry.name) if entry.suffix == ".png" else None


def unpacked(folder: Path, content: bytes) -> dict[str, bytes]:
    (folder / "file.zip").write_bytes(content)
    unpack(folder / "file.zip", keep_png, folder / "new")
    return {path.relative_to(folder / "new").as_posix(): path.read_bytes() for path in (folder / "new").rglob("*.*")}


def test_what_is_wanted_is_unpacked_to_its_place_and_the_rest_left_out(tmp_path: Path) -> None:
    content = zipped({"deep/er/1.png": b"one", "2.png": b"two", "READ ME": b"no", "empty/": b"", "3.png/": b""})
    assert unpacked(tmp_path, content) == {"out/1.png": b"one", "out/2.png": b"two"}


def special(name: str, mode: int = 0o644, **fields: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("../1.png", "would be written outside"),
        ("a/../../1.txt", "would be written outside"),
        ("..\\1.png", "would be written outside"),
        ("/etc/1.png", "would be written outside"),
        ("C:/1.png", "would be written outside"),
        ("c:1.png", "would be written outside"),
        ("\\\\host\\share\\1.png", "would be written outside"),
        (special("1.png", stat.S_IFLNK | 0o777), "is a link or a device"),
        (special("1.txt", stat.S_IFLNK | 0o777), "is a link or a device"),
        (special("1.png", stat.S_IFIFO | 0o644), "is a link or a device"),
        (special("1.png", stat.S_IFCHR | 0o644), "is a link or a device"),
        (special("1.png", compress_type=zipfile.ZIP_LZMA), "has a compression that is not supported"),
    ],
    ids=str,
)
def test_one_dangerous_entry_refuses_the_whole_archive_by_name(
    tmp_path: Path, entry: str | zipfile.ZipInfo, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        unpacked(tmp_path, zipped({"good.png": b"good", entry: b"target"}))
    name = entry if isinstance(entry, str) else entry.filename
    assert f"{name!r} {said}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.zip"]


def test_locked_archives_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"1.png": b"one"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    with pytest.raises(UserError, match=r"'1.png' is encrypted"):
        unpacked(tmp_path, bytes(content))


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two of its entries have the path out/1\.png"):
        unpacked(tmp_path, zipped({"a/1.png": b"one", "b/1.png": b"other"}))


@pytest.mark.parametrize(("limit", "value"), [("MOST_ENTRIES", 1), ("MOST_UNPACKED_GB", 1e-4)])
def test_archives_that_would_grow_beyond_limits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    bomb = zipped({"1.txt": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"has 1 files and 0\.0 GB, \d+ times its size"):
        unpacked(tmp_path, bomb)
    monkeypatch.setattr(downloads, limit, value)
    with pytest.raises(UserError, match="has 2 files"):
        unpacked(tmp_path, FILE)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda content: content.replace(b"PNG-one", b"PNG-0ne"),
            "damaged, or no zip archive (Bad CRC-32 for file '1.png')",
        ),
        (lambda content: content[:-40], "damaged, or no zip archive"),
        (lambda content: content[:100] + content[160:], "damaged"),
        (lambda content: b"<html>", "damaged, or no zip archive"),
        (lambda content: b"", "damaged, or no zip archive"),
        (lambda content: content.replace(b"PK\x01\x02", b"PK\x09\x09"), "damaged"),
    ],
)
def test_archives_that_are_not_whole_are_refused(tmp_path: Path, spoil, said: str) -> None:
    content = spoil(zipped({"1.png": b"PNG-one", "2.png": b"PNG-two" * 20}))
    with pytest.raises(UserError) as caught:
        unpacked(tmp_path, content)
    assert said in str(caught.value) and "Remove it and run this command again" in str(caught.value)


def test_a_lie_about_a_size_is_caught(tmp_path: Path) -> None:
    content = bytearray(zipped({"1.png": b"x" * 5000}, zipfile.ZIP_DEFLATED))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    with pytest.raises(UserError, match="damaged"):
        unpacked(tmp_path, bytes(content))
