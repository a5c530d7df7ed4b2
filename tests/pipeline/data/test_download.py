"""Downloads from a server on loopback. Nothing leaves the machine."""

import json
import socket
from pathlib import Path

import pytest
from archive_server import FILE, OTHER, Server, server

from analysis.records import progress
from pipeline.data import download as downloads
from pipeline.data.download import download
from pipeline.errors import UserError

__all__ = ["server"]


def bring(url: str, archive: Path) -> bytes:
    download(url, archive)
    return archive.read_bytes()


def refused(url: str, archive: Path) -> str:
    with pytest.raises(UserError) as caught:
        bring(url, archive)
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
    assert "after 0.3 MB" in said and "The same command resumes there" in said
    assert not (tmp_path / "file.zip").exists()
    server.etag = "" if date else etag  # the weak one must not have been sent
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert server.asked[-1]["Range"] == f"bytes={4 * downloads.CHUNK_BYTES}-"  # what of 300000 makes whole chunks
    assert server.asked[-1]["If-Range"] == (date or etag)


def test_a_few_breaks_are_mended_within_one_call(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.drop(after=100_000, times=3)
    monkeypatch.setattr(downloads, "TRIES", 4)
    assert bring(server.url, tmp_path / "file.zip") == FILE
    begun = [f"bytes={chunks * downloads.CHUNK_BYTES}-" for chunks in (1, 2, 3)]
    assert [asked.get("Range") for asked in server.asked] == [None, *begun]


def test_a_server_that_sends_less_than_the_rest_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.drop(after=300_000, times=1)
    server.most = 200_000
    monkeypatch.setattr(downloads, "TRIES", 3)
    assert bring(server.url, tmp_path / "file.zip") == FILE


def test_a_file_without_an_announced_length_comes_whole_and_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says_length = False
    monkeypatch.setattr(downloads, "TRIES", 3)
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert len(server.asked) == 1


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
    assert "The same command starts again" in refused(server.url, tmp_path / "file.zip")
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


def test_a_part_that_nothing_names_is_never_taken_for_whole(server: Server, tmp_path: Path) -> None:
    note = {"url": server.url, "validator": None, "length": len(OTHER)}
    (tmp_path / "file.zip.partial").write_bytes(OTHER)
    (tmp_path / "file.zip.partial.json").write_text(json.dumps(note))
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert "Range" not in server.asked[0]


def test_nothing_left_to_send_is_the_end_where_no_length_was_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.zip.partial").write_bytes(FILE)
    (tmp_path / "file.zip.partial.json").write_text(json.dumps({"url": server.url, "validator": '"1"', "length": None}))
    assert bring(server.url, tmp_path / "file.zip") == FILE
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [len(FILE), None])
def test_a_part_longer_than_the_file_is_begun_anew(
    server: Server, tmp_path: Path, length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.zip.partial").write_bytes(FILE + b"more")
    (tmp_path / "file.zip.partial.json").write_text(
        json.dumps({"url": server.url, "validator": '"1"', "length": length})
    )
    monkeypatch.setattr(downloads, "TRIES", 2)
    assert bring(server.url, tmp_path / "file.zip") == FILE


@pytest.mark.parametrize("note", ["{", "[]", '{"url": 1}'])
def test_a_torn_note_begins_anew(server: Server, tmp_path: Path, note: str) -> None:
    (tmp_path / "file.zip.partial").write_bytes(b"PK of another file")
    (tmp_path / "file.zip.partial.json").write_text(note)
    assert bring(server.url, tmp_path / "file.zip") == FILE


def test_a_page_instead_of_a_zip_is_refused_and_costs_no_byte_of_the_part(server: Server, tmp_path: Path) -> None:
    page = server.url.replace("file.zip", "page")
    (tmp_path / "file.zip.partial").write_bytes(b"PK and some more")
    (tmp_path / "file.zip.partial.json").write_text(json.dumps({"url": page, "validator": '"1"', "length": 99}))
    assert "text/html, not a zip archive" in refused(page, tmp_path / "file.zip")
    assert (tmp_path / "file.zip.partial").read_bytes() == b"PK and some more"


def test_addresses_and_servers_that_fail_are_named_in_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = server.url.removesuffix("file.zip")
    assert "/lost: the server answers 404 Not Found" in refused(f"{base}lost", tmp_path / "a.zip")
    assert len(server.asked) == 1  # asking again would not help
    monkeypatch.setattr(downloads, "TRIES", 3)
    busy = refused(f"{base}busy", tmp_path / "a.zip")
    assert "/busy: cannot be reached (it answers 503 Service Unavailable)" in busy
    assert len(server.asked) == 4
    for address in ("file.zip", "ftp://127.0.0.1/file.zip", "http://", "http://[1/"):
        assert f"{address}: no address of a file" in refused(address, tmp_path / "a.zip")


def test_a_host_that_is_not_there_or_silent_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "TRIES", 1)
    monkeypatch.setattr(downloads, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file.zip"
        said = refused(address, tmp_path / "a.zip")
        assert "cannot be reached (timed out)" in said
    assert f"{address}: cannot be reached ([Errno" in refused(address, tmp_path / "a.zip")


def test_progress_is_shown_by_the_archives_name(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    download(server.url, tmp_path / "a.zip")
    assert "a.zip: 0.5 MB of 0.5 MB" in capsys.readouterr().err
