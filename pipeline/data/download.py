"""Zip archives from the network: downloaded in parts that a later call goes on from, checked, and unpacked safely.

Nothing is known here of what they hold; `datasets.py` knows.
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
# Answers of a server that another try may mend.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
AGAIN = "remove it and run this again"


@dataclass(frozen=True)
class Patience:
    """How long a silent server is waited for, how often it is asked, and the pause between."""

    connect_seconds: float = 15.0
    read_seconds: float = 60.0
    tries: int = 4
    pause_seconds: float = 3.0


@dataclass(frozen=True)
class Bounds:
    """What an archive may become; ratio is of the unpacked bytes to its own."""

    entries: int = 200_000
    unpacked_gb: float = 20.0
    ratio: float = 100.0


PATIENCE, BOUNDS = Patience(), Bounds()
# Told how much is done, and of how much if that is known.
Follow = Callable[[int, int | None], None]


class _BrokenError(Exception):
    """What another try may mend."""


@dataclass(frozen=True)
class _Note:
    """Which file the bytes of a part belong to: its address, its ETag or date, its length if the server said it."""

    url: str
    validator: str | None
    length: int | None


@contextmanager
def following(label: str, unit: Literal["MB", "images"], console: Console) -> Iterator[Follow]:
    """A bar on a terminal, a plain line now and then elsewhere; told in bytes or in images."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task, plain_due = bar.add_task(label, total=None), time.monotonic() + PLAIN_LINE_SECONDS

    def spelt(count: int) -> str:
        return f"{count / 1e6:.1f}" if unit == "MB" else str(count)

    def follow(done: int, total: int | None) -> None:
        nonlocal plain_due
        text = f"{label}: {spelt(done)}{f' of {spelt(total)}' if total else ''} {unit}"
        if console.is_terminal:
            bar.update(task, completed=done, total=total, description=text)
        elif time.monotonic() >= plain_due:
            plain_due = time.monotonic() + PLAIN_LINE_SECONDS
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    if console.is_terminal:
        with bar:
            yield follow
    else:
        yield follow


def download(url: str, archive: Path, console: Console, patience: Patience = PATIENCE) -> None:
    """Bring the zip at `url` to `archive`, whole or not at all.

    Bytes gather in `<archive>.partial`. A later call asks for the rest alone, on condition that the file is still the
    same (RFC 9110, If-Range; what names it stands in `<archive>.partial.json`), and starts again where it is not.
    Raises UserError where the address, the server or the connection fails, or where no zip comes.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f"{archive.name}.partial")
    with following(archive.name, "MB", console) as follow:
        for tries_left in reversed(range(patience.tries)):
            try:
                _carry_on(url, partial, patience, follow)
                break
            except (_BrokenError, requests.RequestException) as error:
                if isinstance(error, ValueError):  # requests' way to say that it was given no address
                    raise UserError(f"{url}: no address of a file; give one as in http://host/file.zip") from None
                if not tries_left:
                    raise UserError(_failure(url, partial, error)) from None
                time.sleep(patience.pause_seconds)
    partial.rename(archive)
    _note_of(partial).unlink(missing_ok=True)


def _carry_on(url: str, partial: Path, patience: Patience, follow: Follow) -> None:
    note = _read_note(partial)
    have = partial.stat().st_size if note and note.url == url and note.validator and partial.exists() else 0
    if note and have and have == note.length:
        return
    headers = {"Accept-Encoding": "identity"}
    if note and note.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": note.validator}
    waits = (patience.connect_seconds, patience.read_seconds)
    with requests.get(url, headers=headers, stream=True, timeout=waits) as answer:
        content_range = answer.headers.get("Content-Range", "")
        match answer.status_code:
            case 206 if note and have and content_range.startswith(f"bytes {have}-"):
                _append(answer.iter_content(CHUNK_BYTES), partial, note.length, follow)
            case 200:
                chunks = answer.iter_content(CHUNK_BYTES)
                first = next(chunks, b"")
                if not first.startswith(ZIP_BEGINS):
                    kind = answer.headers.get("Content-Type", "something")
                    raise UserError(f"{url}: answers with {kind}, not with a zip archive; give another with --url")
                note = _Note(url, _validator(answer), _length(answer))
                # First the bytes of another file go, then the note says whose the next ones are.
                partial.write_bytes(b"")
                _note_of(partial).write_text(json.dumps(asdict(note)), encoding="utf-8")
                partial.write_bytes(first)
                _append(chunks, partial, note.length, follow)
            case 416 if have and content_range == f"bytes */{have}":
                return
            case 206 | 416:
                partial.unlink(missing_ok=True)
                raise _BrokenError("it does not go on from where the part ends")
            case status if status in PASSING:
                raise _BrokenError(f"it answers {status} {answer.reason}")
            case status:
                raise UserError(f"{url}: the server answers {status} {answer.reason}; give another address with --url")


def _append(chunks: Iterator[bytes], partial: Path, length: int | None, follow: Follow) -> None:
    with partial.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
            follow(file.tell(), length)
        size = file.tell()
    if length is not None and size != length:
        raise _BrokenError(f"{size} bytes came where {length} were announced")


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_note(partial: Path) -> _Note | None:
    try:
        return _Note(**json.loads(_note_of(partial).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _validator(answer: requests.Response) -> str | None:
    """What If-Range may hold: a strong ETag, else the date."""
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
    size, note = partial.stat().st_size if partial.exists() else 0, _read_note(partial)
    if size and note:
        mend = (
            "goes on from there" if note.validator else "starts again, since the server does not name its file's state"
        )
        return f"{url}: the connection broke after {size / 1e6:.1f} MB ({said}); the same command {mend}"
    return f"{url}: cannot be reached ({said}); try again later, or give another address with --url"


def check_digest(archive: Path, sha256: str | None) -> None:
    """Raise UserError where the file's SHA-256 is not the published one; None is not known, and not checked."""
    if sha256 is None:
        return
    found = file_digest(archive)
    if found != sha256:
        raise UserError(f"{archive}: its sha256 is {found}, the published file's is {sha256}; {AGAIN}")


def read_entries(
    archive: Path, pick: Callable[[PurePosixPath], PurePosixPath | None], bounds: Bounds = BOUNDS
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The entries that `pick` wants, by the place it gives them; it leaves out with None.

    Raises UserError where the archive is not whole, grows beyond the bounds, or where any entry, wanted or not, is a
    danger: it would lie outside, is a link or a device, is locked, or takes another's place.
    """
    picked: dict[PurePosixPath, zipfile.ZipInfo] = {}
    with _opened(archive) as opened:
        entries = opened.infolist()
        for entry in entries:
            if danger := _danger(entry):
                raise UserError(f"{archive}: {entry.orig_filename!r} in it {danger}; it is not unpacked")
        unpacked_bytes = sum(entry.file_size for entry in entries)
        ratio = unpacked_bytes / archive.stat().st_size
        if len(entries) > bounds.entries or unpacked_bytes > bounds.unpacked_gb * 1e9 or ratio > bounds.ratio:
            grown = f"{len(entries)} files and {unpacked_bytes / 1e9:.1f} GB, {ratio:.0f} times its size"
            raise UserError(f"{archive}: would become {grown}; it is not unpacked")
        if torn := opened.testzip():
            raise UserError(f"{archive}: {torn!r} in it is damaged; {AGAIN}")
    for entry in entries:
        place = None if entry.is_dir() else pick(PurePosixPath(entry.filename))
        if place in picked:
            raise UserError(f"{archive}: two files in it are called {place}; it is not unpacked")
        if place is not None:
            picked[place] = entry
    return picked


def unpack(archive: Path, entries: Mapping[PurePosixPath, zipfile.ZipInfo], folder: Path) -> None:
    """Write the entries to their places below a folder. Raises UserError where the archive is not whole."""
    with _opened(archive) as opened:
        for place, entry in entries.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            with opened.open(entry) as source, (folder / place).open("xb") as sink:
                shutil.copyfileobj(source, sink)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeDecodeError, OSError) as error:
        # A place before the file's beginning is an invalid argument; what else the system says is of the disk.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise UserError(f"{archive}: damaged, or no zip archive ({first_line(error)}); {AGAIN}") from None


def _danger(entry: zipfile.ZipInfo) -> str | None:
    # Windows' reading takes backslashes for separators too, and knows drives.
    path, kind = PureWindowsPath(entry.orig_filename), stat.S_IFMT(entry.external_attr >> 16)
    if path.anchor or ".." in path.parts or "\0" in entry.orig_filename:
        return "would be written outside its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & 1:
        return "is locked with a password"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that is not read here"
    return None
