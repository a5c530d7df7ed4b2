"""Download a zip archive, resume a broken download, and unpack an archive safely.

`pipeline.data.catalog` knows what the archives contain.
"""

import errno
import json
import shutil
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import requests

from analysis.records.progress import Report, progress, tracked
from pipeline.errors import UserError, first_line

CHUNK_BYTES = 1 << 16
ZIP_BEGINS = b"PK"
# After these answers of a server another try can succeed.
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
AGAIN = "Remove it and run this command again"

# How long to wait for a silent server, how often to try, and the pause between tries. urllib3.Retry cannot replace
# this: it covers a request up to the headers of the answer. Most downloads break later, and the next request then has
# another Range.
CONNECT_SECONDS, READ_SECONDS = 15.0, 60.0
TRIES, PAUSE_SECONDS = 4, 3.0

# The largest archive that is unpacked. The ratio: unpacked bytes for each byte of the archive.
MOST_ENTRIES, MOST_UNPACKED_GB, MOST_RATIO = 200_000, 20.0, 100.0


class _BrokenError(Exception):
    """The download broke. Another try can succeed."""


@dataclass(frozen=True)
class _Origin:
    """The file of which a part is: its address, its ETag or date, and its length if the server gave it."""

    url: str
    validator: str | None
    length: int | None


def download(url: str, archive: Path) -> None:
    """Download the zip at `url` to `archive`, which appears when it is complete.

    Until then its bytes are in `<archive>.partial`. A later call requests only the rest if the server's file is still
    the same (RFC 9110, If-Range, with the validator in `<archive>.partial.json`). Otherwise it starts again. Raises
    UserError if the address, the server or the connection fails, or if the answer is no zip.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f"{archive.name}.partial")
    with progress(archive.name, None, in_bytes=True) as report:
        for tries_left in reversed(range(TRIES)):
            try:
                _resume(url, part, report)
                break
            except (_BrokenError, requests.RequestException) as error:
                if isinstance(error, ValueError):  # requests' errors for what is no address
                    raise UserError(f"{url}: no address of a file. Give one such as http://host/file.zip") from None
                if not tries_left:
                    raise UserError(_failure(url, part, error)) from None
                time.sleep(PAUSE_SECONDS)
    part.rename(archive)
    _origin_file(part).unlink(missing_ok=True)


def _resume(url: str, part: Path, report: Report) -> None:
    origin, have, headers = _read_origin(part), 0, {"Accept-Encoding": "identity"}
    if origin and origin.url == url and origin.validator and part.exists():
        have = part.stat().st_size
        if have and have == origin.length:
            return
    if origin and origin.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
        content_range = answer.headers.get("Content-Range", "")
        match answer.status_code:
            case 206 if origin and have and content_range.startswith(f"bytes {have}-"):
                _append(answer.iter_content(CHUNK_BYTES), part, origin.length, report)
            case 200:
                chunks = answer.iter_content(CHUNK_BYTES)
                first = next(chunks, b"")
                if not first.startswith(ZIP_BEGINS):
                    kind = answer.headers.get("Content-Type", "something")
                    raise UserError(f"{url}: the answer is {kind}, not a zip archive. Give another address with --url")
                tag, length = answer.headers.get("ETag", ""), answer.headers.get("Content-Length", "")
                # If-Range takes a strong ETag, else the date.
                validator = tag if tag.startswith('"') else answer.headers.get("Last-Modified")
                is_length = length.isdigit() and "Content-Encoding" not in answer.headers
                origin = _Origin(url, validator, int(length) if is_length else None)
                # In this order, so that a crash never leaves bytes of one file with the origin of another.
                part.write_bytes(b"")
                _origin_file(part).write_text(json.dumps(asdict(origin)), encoding="utf-8")
                part.write_bytes(first)
                _append(chunks, part, origin.length, report)
            case 416 if have and content_range == f"bytes */{have}":
                return
            case 206 | 416:
                part.unlink(missing_ok=True)
                raise _BrokenError("it does not continue at the end of the part")
            case status if status in TEMPORARY:
                raise _BrokenError(f"it answers {status} {answer.reason}")
            case status:
                raise UserError(f"{url}: the server answers {status} {answer.reason}. Give another address with --url")


def _append(chunks: Iterable[bytes], part: Path, length: int | None, report: Report) -> None:
    with part.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
            report(file.tell(), length)
        size = file.tell()
    if length is not None and size != length:
        raise _BrokenError(f"{size} bytes came, but {length} were announced")


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_origin(part: Path) -> _Origin | None:
    try:
        return _Origin(**json.loads(_origin_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _failure(url: str, part: Path, error: Exception) -> str:
    reason: BaseException = error
    while inner := reason.__cause__ or reason.__context__:
        reason = inner
    said = first_line(reason) if isinstance(reason, Exception) else type(reason).__name__
    size, origin = part.stat().st_size if part.exists() else 0, _read_origin(part)
    if size and origin:
        next_time = "resumes there" if origin.validator else "starts again, since the server gives no ETag and no date"
        return f"{url}: the connection broke after {size / 1e6:.1f} MB ({said}). The same command {next_time}"
    return f"{url}: cannot be reached ({said}). Try again later, or give another address with --url"


def unpack(archive: Path, pick: Callable[[PurePosixPath], PurePosixPath | None], folder: Path) -> None:
    """Write the entries that `pick` selects to the paths in a folder that it returns. For others it returns None.

    Raises UserError if the archive is damaged or too large, or if any of its entries is dangerous: outside the folder,
    a link or device, encrypted, or with the path of another entry.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _refuse_unsafe(archive, opened.infolist())
            entries = opened.infolist()
            for entry in tracked(entries, len(entries), f"{archive.name}: unpacking"):
                path = None if entry.is_dir() else pick(PurePosixPath(entry.filename))
                if path is None:
                    continue
                if (folder / path).exists():
                    raise UserError(f"{archive}: two of its entries have the path {path}. The archive is not unpacked")
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, (folder / path).open("xb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeDecodeError, OSError) as error:
        # An offset before the beginning of the file is an invalid argument. Other errors come from the disk.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise UserError(f"{archive}: damaged, or no zip archive ({first_line(error)}). {AGAIN}") from None


def _refuse_unsafe(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        # A Windows path also has backslashes and drives.
        path, kind = PureWindowsPath(entry.orig_filename), stat.S_IFMT(entry.external_attr >> 16)
        danger = ""
        if path.anchor or ".." in path.parts or "\0" in entry.orig_filename:
            danger = "would be written outside the folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            danger = "is a link or a device"
        elif entry.flag_bits & 1:
            danger = "is encrypted"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            danger = "has a compression that is not supported"
        if danger:
            raise UserError(f"{archive}: its entry {entry.orig_filename!r} {danger}. The archive is not unpacked")
    unpacked_gb = sum(entry.file_size for entry in entries) / 1e9
    ratio = unpacked_gb * 1e9 / archive.stat().st_size
    if len(entries) > MOST_ENTRIES or unpacked_gb > MOST_UNPACKED_GB or ratio > MOST_RATIO:
        found = f"{len(entries)} files and {unpacked_gb:.1f} GB, {ratio:.0f} times its size"
        allowed = f"{MOST_ENTRIES} files, {MOST_UNPACKED_GB:g} GB and {MOST_RATIO:g} times its size"
        raise UserError(f"{archive}: unpacked, it has {found}. At most {allowed} are allowed")
