"""Download zip archives, resume broken downloads, check archives and unpack them safely.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

import requests
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest

CHUNK_BYTES = 1 << 16
PLAIN_LINE_SECONDS = 10.0
ZIP_BEGINS = b"PK"
# After these answers of a server another try can succeed.
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
AGAIN = "Remove it and run this command again"


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a silent server, how often to try, and the pause between tries.

    urllib3.Retry cannot replace it: it covers a request up to the headers of the answer. Most downloads break later,
    and the next request then has another Range.
    """

    connect_seconds: float = 15.0
    read_seconds: float = 60.0
    tries: int = 4
    pause_seconds: float = 3.0


@dataclass(frozen=True)
class Limits:
    """The largest archive that is unpacked. ratio: unpacked bytes for each byte of the archive."""

    entries: int = 200_000
    unpacked_gb: float = 20.0
    ratio: float = 100.0


RETRIES, LIMITS = RetryPolicy(), Limits()
# Takes how much is done, and the total if it is known.
Report = Callable[[int, int | None], None]


class _BrokenError(Exception):
    """The download broke. Another try can succeed."""


@dataclass(frozen=True)
class _Origin:
    """The file of which a part is: its address, its ETag or date, and its length if the server gave it."""

    url: str
    validator: str | None
    length: int | None


@contextmanager
def progress(label: str, unit: Literal["MB", "images"], console: Console) -> Iterator[Report]:
    """Show progress in bytes or in images: a bar on a terminal, elsewhere a line every few seconds."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task, plain_due = bar.add_task(label, total=None), time.monotonic() + PLAIN_LINE_SECONDS

    def amount(count: int) -> str:
        return f"{count / 1e6:.1f}" if unit == "MB" else str(count)

    def report(done: int, total: int | None) -> None:
        nonlocal plain_due
        text = f"{label}: {amount(done)}{f' of {amount(total)}' if total else ''} {unit}"
        if console.is_terminal:
            bar.update(task, completed=done, total=total, description=text)
        elif time.monotonic() >= plain_due:
            plain_due = time.monotonic() + PLAIN_LINE_SECONDS
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    if console.is_terminal:
        with bar:
            yield report
    else:
        yield report


def download(url: str, archive: Path, console: Console, retries: RetryPolicy = RETRIES) -> None:
    """Download the zip at `url` to `archive`, which appears when it is complete.

    Until then its bytes are in `<archive>.partial`. A later call requests only the rest if the server's file is still
    the same (RFC 9110, If-Range, with the validator in `<archive>.partial.json`). Otherwise it starts again. Raises
    UserError if the address, the server or the connection fails, or if the answer is no zip.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f"{archive.name}.partial")
    with progress(archive.name, "MB", console) as report:
        for tries_left in reversed(range(retries.tries)):
            try:
                _resume(url, partial, retries, report)
                break
            except (_BrokenError, requests.RequestException) as error:
                if isinstance(error, ValueError):  # requests' errors for what is no address
                    raise UserError(f"{url}: no address of a file. Give one such as http://host/file.zip") from None
                if not tries_left:
                    raise UserError(_failure(url, partial, error)) from None
                time.sleep(retries.pause_seconds)
    partial.rename(archive)
    _origin_file(partial).unlink(missing_ok=True)


def _resume(url: str, partial: Path, retries: RetryPolicy, report: Report) -> None:
    origin = _read_origin(partial)
    have = partial.stat().st_size if origin and origin.url == url and origin.validator and partial.exists() else 0
    if origin and have and have == origin.length:
        return
    headers = {"Accept-Encoding": "identity"}
    if origin and origin.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    waits = (retries.connect_seconds, retries.read_seconds)
    with requests.get(url, headers=headers, stream=True, timeout=waits) as answer:
        content_range = answer.headers.get("Content-Range", "")
        match answer.status_code:
            case 206 if origin and have and content_range.startswith(f"bytes {have}-"):
                _append(answer.iter_content(CHUNK_BYTES), partial, origin.length, report)
            case 200:
                chunks = answer.iter_content(CHUNK_BYTES)
                first = next(chunks, b"")
                if not first.startswith(ZIP_BEGINS):
                    kind = answer.headers.get("Content-Type", "something")
                    raise UserError(f"{url}: the answer is {kind}, not a zip archive. Give another address with --url")
                origin = _Origin(url, _validator(answer), _length(answer))
                # In this order, so that a crash never leaves bytes of one file with the origin of another.
                partial.write_bytes(b"")
                _origin_file(partial).write_text(json.dumps(asdict(origin)), encoding="utf-8")
                partial.write_bytes(first)
                _append(chunks, partial, origin.length, report)
            case 416 if have and content_range == f"bytes */{have}":
                return
            case 206 | 416:
                partial.unlink(missing_ok=True)
                raise _BrokenError("it does not continue at the end of the part")
            case status if status in TEMPORARY:
                raise _BrokenError(f"it answers {status} {answer.reason}")
            case status:
                raise UserError(f"{url}: the server answers {status} {answer.reason}. Give another address with --url")


def _append(chunks: Iterator[bytes], partial: Path, length: int | None, report: Report) -> None:
    with partial.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
            report(file.tell(), length)
        size = file.tell()
    if length is not None and size != length:
        raise _BrokenError(f"{size} bytes came, but {length} were announced")


def _origin_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_origin(partial: Path) -> _Origin | None:
    try:
        return _Origin(**json.loads(_origin_file(partial).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _validator(answer: requests.Response) -> str | None:
    """Return the value for If-Range: a strong ETag, else the date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _length(answer: requests.Response) -> int | None:
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isdigit() and "Content-Encoding" not in answer.headers else None


def _failure(url: str, partial: Path, error: Exception) -> str:
    reason: BaseException = error
    while inner := reason.__cause__ or reason.__context__:
        reason = inner
    said = first_line(reason) if isinstance(reason, Exception) else type(reason).__name__
    size, origin = partial.stat().st_size if partial.exists() else 0, _read_origin(partial)
    if size and origin:
        next_time = "resumes there" if origin.validator else "starts again, since the server gives no ETag and no date"
        return f"{url}: the connection broke after {size / 1e6:.1f} MB ({said}). The same command {next_time}"
    return f"{url}: cannot be reached ({said}). Try again later, or give another address with --url"


def check_digest(archive: Path, sha256: str | None) -> None:
    """Raise UserError if the file's SHA-256 is not the published one. None is unknown and is not checked."""
    if sha256 is None:
        return
    found = file_digest(archive)
    if found != sha256:
        raise UserError(f"{archive}: its SHA-256 is {found}, but the published file has {sha256}. {AGAIN}")


def read_entries(
    archive: Path, pick: Callable[[PurePosixPath], PurePosixPath | None], limits: Limits = LIMITS
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the entries that `pick` selects, by the path that it returns for them. For others it returns None.

    Raises UserError if the archive is damaged or too large, or if any of its entries is dangerous: outside the folder,
    a link or device, encrypted, or with the path of another entry.
    """
    picked: dict[PurePosixPath, zipfile.ZipInfo] = {}
    with _opened(archive) as opened:
        entries = opened.infolist()
        for entry in entries:
            if danger := _danger(entry):
                raise UserError(f"{archive}: its entry {entry.orig_filename!r} {danger}. The archive is not unpacked")
        unpacked_bytes = sum(entry.file_size for entry in entries)
        ratio = unpacked_bytes / archive.stat().st_size
        if len(entries) > limits.entries or unpacked_bytes > limits.unpacked_gb * 1e9 or ratio > limits.ratio:
            found = f"{len(entries)} files and {unpacked_bytes / 1e9:.1f} GB, {ratio:.0f} times its size"
            allowed = f"{limits.entries} files, {limits.unpacked_gb:g} GB and {limits.ratio:g} times its size"
            raise UserError(f"{archive}: unpacked, it has {found}. At most {allowed} are allowed")
        if damaged := opened.testzip():
            raise UserError(f"{archive}: its entry {damaged!r} is damaged. {AGAIN}")
    for entry in entries:
        path = None if entry.is_dir() else pick(PurePosixPath(entry.filename))
        if path in picked:
            raise UserError(f"{archive}: two of its entries have the path {path}. The archive is not unpacked")
        if path is not None:
            picked[path] = entry
    return picked


def unpack(archive: Path, entries: Mapping[PurePosixPath, zipfile.ZipInfo], folder: Path) -> None:
    """Write the entries to their paths in a folder. Raises UserError if the archive is damaged."""
    with _opened(archive) as opened:
        for path, entry in entries.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with opened.open(entry) as source, (folder / path).open("xb") as sink:
                shutil.copyfileobj(source, sink)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeDecodeError, OSError) as error:
        # An offset before the beginning of the file is an invalid argument. Other errors come from the disk.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise UserError(f"{archive}: damaged, or no zip archive ({first_line(error)}). {AGAIN}") from None


def _danger(entry: zipfile.ZipInfo) -> str | None:
    # A Windows path also has backslashes and drives.
    path, kind = PureWindowsPath(entry.orig_filename), stat.S_IFMT(entry.external_attr >> 16)
    if path.anchor or ".." in path.parts or "\0" in entry.orig_filename:
        return "would be written outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "has a compression that is not supported"
    return None
