"""Downloading from a server on loopback, and unpacking archives that tests make. Nothing leaves the machine."""

import hashlib
import io
import json
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest
from rich.console import Console

from pipeline.data import download as fetch
from pipeline.data.download import Bounds, Patience, check_digest, download, read_entries, unpack
from pipeline.errors import UserError

ONE_TRY = Patience(connect_seconds=2, read_seconds=2, tries=1, pause_seconds=0)
Entries = dict[str | zipfile.ZipInfo, bytes]


def zipped(entries: Entries, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILE = zipped({"a/1.png": bytes(range(256)) * 2000, "a/2.png": b"two"})
OTHER = zipped({"b/1.png": bytes(range(255, -1, -1)) * 2500})


class Server(ThreadingHTTPServer):
    """One file, at every path but /lost, /page and /busy."""

    content, etag, date = FILE, '"1"', ""
    ranges, says_length = True, True
    most: int | None = None  # bytes that an answer to a Range holds
    drop_after: int | None = None  # bytes of a body, after which the connection is dropped
    drops_left = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"

    def drop(self, after: int, times: int) -> None:
        self.drop_after, self.drops_left = after, times


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(dict(self.headers))
        match self.path:
            case "/lost":
                return self.send_error(404)
            case "/busy":
                return self.send_error(503)
            case "/page":
                return self.answer(200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})
        begin = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.etag or server.date)
        if wanted and same and server.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(server.content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(server.content)}"})
        headers = {"ETag": server.etag, "Last-Modified": server.date}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}"
        self.answer(206 if begin else 200, server.content[begin:][: server.most if begin else None], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.drops_left and self.server.drop_after is not None:
            self.server.drops_left -= 1
            body = body[: self.server.drop_after]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def bring(url: str, archive: Path, patience: Patience = ONE_TRY) -> bytes:
    download(url, archive, Console(quiet=True), patience)
    return archive.read_bytes()


def refused(url: str, archive: Path, patience: Patience = ONE_TRY) -> str:
    with pytest.raises(UserError) as caught:
        bring(url, archive, patience)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: Server, tmp_path: Path) -> None:
    assert bring(server.url, tmp_path / "new/file.zip") == FILE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.zip"]


@pytest.mark.parametrize(("etag", "date"), [('"1"', ""), ('W/"1"', "Tue, 01 Jul 2025 00:00:00 GMT")])
def test_a_broken_download_goes_on_where_it_broke(server: Server, tmp_path: Path, etag: str, date: str) -> None:
    server.etag, server.date = etag, date
    server.drop(after=300_000, times=1)
    said = refused(server.url, tmp_path / "file.zip")
    assert "after 0.3 MB" in said and "the same command goes on from there" in said
    assert not (tmp_path / "file.zip").exists()
    server.etag = "" if date else etag  # the weak one must not have been sent
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert server.asked[-1]["Range"] == f"bytes={4 * fetch.CHUNK_BYTES}-"  # what of 300000 makes whole chunks
    assert server.asked[-1]["If-Range"] == (date or etag)


def test_a_few_breaks_are_mended_within_one_call(server: Server, tmp_path: Path) -> None:
    server.drop(after=100_000, times=3)
    assert bring(server.url, tmp_path / "file.zip", replace(ONE_TRY, tries=4)) == FILE
    begun = [f"bytes={chunks * fetch.CHUNK_BYTES}-" for chunks in (1, 2, 3)]
    assert [asked.get("Range") for asked in server.asked] == [None, *begun]


def test_a_server_that_sends_less_than_the_rest_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.drop(after=300_000, times=1)
    server.most = 200_000
    assert bring(server.url, tmp_path / "file.zip", replace(ONE_TRY, tries=3)) == FILE


def test_a_file_without_an_announced_length_comes_whole(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    assert bring(server.url, tmp_path / "file.zip") == FILE


def test_a_server_without_ranges_sends_the_file_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.drop(after=300_000, times=1)
    refused(server.url, tmp_path / "file.zip")
    assert bring(server.url, tmp_path / "file.zip") == FILE


def test_a_file_that_changed_meanwhile_is_not_sewn_to_the_old_one(server: Server, tmp_path: Path) -> None:
    server.drop(after=300_000, times=1)
    refused(server.url, tmp_path / "file.zip")
    server.content, server.etag = OTHER, '"2"'
    assert bring(server.url, tmp_path / "file.zip") == OTHER


def test_a_file_that_nothing_names_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    server.drop(after=300_000, times=1)
    assert "the same command starts again" in refused(server.url, tmp_path / "file.zip")
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert "Range" not in server.asked[-1]


def test_another_address_begins_anew(server: Server, tmp_path: Path) -> None:
    server.drop(after=300_000, times=1)
    refused(server.url, tmp_path / "file.zip")
    assert bring(server.url.replace("file.zip", "mirror.zip"), tmp_path / "file.zip") == FILE
    assert "Range" not in server.asked[-1]


def test_a_part_that_is_whole_already_needs_no_server(server: Server, tmp_path: Path) -> None:
    note = {"url": server.url, "validator": '"1"', "length": len(FILE)}
    (tmp_path / "file.zip.partial").write_bytes(FILE)
    (tmp_path / "file.zip.partial.json").write_text(json.dumps(note))
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert not server.asked


def test_nothing_left_to_send_is_the_end_where_no_length_was_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.partial").write_bytes(FILE)
    (tmp_path / "file.zip.partial.json").write_text(json.dumps({"url": server.url, "validator": '"1"', "length": None}))
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [len(FILE), None])
def test_a_part_longer_than_the_file_is_begun_anew(server: Server, tmp_path: Path, length: int | None) -> None:
    (tmp_path / "file.zip.partial").write_bytes(FILE + b"more")
    (tmp_path / "file.zip.partial.json").write_text(
        json.dumps({"url": server.url, "validator": '"1"', "length": length})
    )
    assert bring(server.url, tmp_path / "file.zip", replace(ONE_TRY, tries=2)) == FILE


@pytest.mark.parametrize("note", ["{", "[]", '{"url": 1}'])
def test_a_torn_note_begins_anew(server: Server, tmp_path: Path, note: str) -> None:
    (tmp_path / "file.zip.partial").write_bytes(b"PK of another file")
    (tmp_path / "file.zip.partial.json").write_text(note)
    assert bring(server.url, tmp_path / "file.zip") == FILE


def test_a_page_instead_of_a_zip_is_refused_and_costs_no_byte_of_the_part(server: Server, tmp_path: Path) -> None:
    page = server.url.replace("file.zip", "page")
    (tmp_path / "file.zip.partial").write_bytes(b"PK and some more")
    (tmp_path / "file.zip.partial.json").write_text(json.dumps({"url": page, "validator": '"1"', "length": 99}))
    assert "answers with text/html, not with a zip archive; give another with --url" in refused(
        page, tmp_path / "file.zip"
    )
    assert (tmp_path / "file.zip.partial").read_bytes() == b"PK and some more"


def test_addresses_and_servers_that_fail_are_named_in_one_line(server: Server, tmp_path: Path) -> None:
    base = server.url.removesuffix("file.zip")
    assert "/lost: the server answers 404 Not Found; give another" in refused(f"{base}lost", tmp_path / "a.zip")
    assert len(server.asked) == 1  # asking again would not help
    busy = refused(f"{base}busy", tmp_path / "a.zip", replace(ONE_TRY, tries=3))
    assert "/busy: cannot be reached (it answers 503 Service Unavailable)" in busy
    assert len(server.asked) == 4
    for address in ("file.zip", "ftp://127.0.0.1/file.zip", "http://", "http://[1/"):
        assert f"{address}: no address of a file" in refused(address, tmp_path / "a.zip")


def test_a_host_that_is_not_there_or_silent_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file.zip"
        said = refused(address, tmp_path / "a.zip", replace(ONE_TRY, read_seconds=0.2))
        assert "cannot be reached (timed out); try again later" in said
    assert f"{address}: cannot be reached ([Errno" in refused(address, tmp_path / "a.zip")


def test_progress_is_said_in_plain_lines_where_there_is_no_terminal(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PLAIN_LINE_SECONDS", 0.0)
    plain, terminal = io.StringIO(), io.StringIO()
    download(server.url, tmp_path / "a.zip", Console(file=plain), ONE_TRY)
    assert plain.getvalue().splitlines()[-1] == "a.zip: 0.5 of 0.5 MB"
    download(server.url, tmp_path / "b.zip", Console(file=terminal, force_terminal=True), ONE_TRY)
    assert "b.zip: 0.5 of 0.5 MB" in terminal.getvalue() and "━" in terminal.getvalue()


def test_a_digest_that_is_not_the_published_one_is_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(FILE)
    found = hashlib.sha256(FILE).hexdigest()
    check_digest(tmp_path / "file.zip", found)
    check_digest(tmp_path / "file.zip", None)
    with pytest.raises(UserError, match=f"its sha256 is {found}, the published file's is {'0' * 64}; remove it"):
        check_digest(tmp_path / "file.zip", "0" * 64)


def keep_png(entry: PurePosixPath) -> PurePosixPath | None:
    return PurePosixPath("out", entry.name) if entry.suffix == ".png" else None


def unpacked(folder: Path, content: bytes, bounds: Bounds = fetch.BOUNDS) -> dict[str, bytes]:
    (folder / "file.zip").write_bytes(content)
    unpack(folder / "file.zip", read_entries(folder / "file.zip", keep_png, bounds), folder / "new")
    return {path.relative_to(folder / "new").as_posix(): path.read_bytes() for path in (folder / "new").rglob("*.*")}


def test_what_is_wanted_is_unpacked_to_its_place_and_the_rest_left_out(tmp_path: Path) -> None:
    content = zipped({"deep/er/1.png": b"one", "2.png": b"two", "READ ME": b"no", "empty/": b""})
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
        (special("1.png", compress_type=zipfile.ZIP_LZMA), "is packed in a way that is not read"),
    ],
    ids=str,
)
def test_one_dangerous_entry_refuses_the_whole_archive_by_name(
    tmp_path: Path, entry: str | zipfile.ZipInfo, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        unpacked(tmp_path, zipped({"good.png": b"good", entry: b"target"}))
    name = entry if isinstance(entry, str) else entry.filename
    assert f"{name!r} in it {said}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.zip"]


def test_locked_archives_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"1.png": b"one"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    with pytest.raises(UserError, match=r"'1.png' in it is locked with a password"):
        unpacked(tmp_path, bytes(content))


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two files in it are called out/1\.png"):
        unpacked(tmp_path, zipped({"a/1.png": b"one", "b/1.png": b"other"}))


def test_archives_that_would_grow_beyond_bounds_are_refused(tmp_path: Path) -> None:
    bomb = zipped({"1.txt": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"would become 1 files and 0\.0 GB, \d+ times its size"):
        unpacked(tmp_path, bomb)
    for bounds in (Bounds(entries=1), Bounds(unpacked_gb=1e-4)):
        with pytest.raises(UserError, match="would become 2 files"):
            unpacked(tmp_path, FILE, bounds)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content.replace(b"PNG-one", b"PNG-0ne"), "'1.png' in it is damaged"),
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
    assert said in str(caught.value) and "remove it and run this again" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_lie_about_a_size_is_caught(tmp_path: Path) -> None:
    content = bytearray(zipped({"1.png": b"x" * 5000}, zipfile.ZIP_DEFLATED))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    with pytest.raises(UserError, match="damaged"):
        unpacked(tmp_path, bytes(content))
