"""Checkpoint files: when one is due, written atomically, verified when read, never unpickled.

A file is a ZIP archive of torch. Its comment is the checksum of all that stands before it.
"""

import errno
import hashlib
import io
import os
import pickle
import time
import zipfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pipeline.config.schema import TrainConfig
from pipeline.errors import UserError, first_line
from pipeline.files import FULL, remove_leftovers, replacing
from pipeline.hardware.memory import is_out_of_memory
from pipeline.storage.faults import StoreError
from pipeline.training.background_writer import Writer

# Between checkpoints written in the background. On a GPU an epoch may take seconds, and a checkpoint has up to
# hundreds of megabytes.
SECONDS_APART = 60.0
# A trial keeps two checkpoints. The one before serves if the last one is damaged.
LAST, PREVIOUS = "last.pt", "previous.pt"
CHECKSUM = b"sha256 "
# What the system says of a disk that is faulty or not there now.
AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EROFS)
READ_BYTES = 2**20


class StorageError(UserError):
    """A file could not be written or read: the disk is full, away or faulty. Nothing else is wrong."""


def is_storage_fault(error: BaseException) -> bool:
    """Return whether a disk or an address is full or away, so that the same may succeed later."""
    if isinstance(error, StoreError):
        return True
    of_system = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(of_system, OSError) and of_system.errno in (*FULL, *AWAY)


class Checkpoints:
    """Saves a trial's checkpoint every so many epochs, and within long epochs every so many minutes.

    In the background it saves at most once a minute, and never while the earlier checkpoint is still being written.
    It always saves after the last step.
    """

    def __init__(self, path: Path, train: TrainConfig, writer: Writer) -> None:
        self._path, self._train, self._writer = path, train, writer
        self._saved = time.monotonic()
        self._saving: Future[None] | None = None

    def due(self, epochs_done: int, *, epoch_ends: bool, last: bool) -> bool:
        """Return whether to save now. last: this was the trial's last step."""
        since = time.monotonic() - self._saved
        if last:
            return True
        if self._saving and (not self._saving.done() or (self._writer.background and since < SECONDS_APART)):
            return False
        epoch_is_due = epoch_ends and epochs_done % self._train.checkpoint_every_epochs == 0
        return epoch_is_due or since >= 60 * self._train.checkpoint_every_minutes

    def save(self, state: dict[str, Any]) -> None:
        """Write the state as it is now."""
        snapshot = self._writer.snapshot(state)
        self._saved = time.monotonic()
        self._saving = self._writer.write(lambda: save_checkpoint(self._path, snapshot(), previous(self._path)))


def previous(path: Path) -> Path:
    """Return the path of the checkpoint before the last one."""
    return path.with_name(PREVIOUS)


def two_newest(path: Path) -> list[Path]:
    """Return a trial's last checkpoint and the one before, as far as they are there."""
    return [file for file in (path, previous(path)) if file.is_file()]


def checksum_of(file: Path | None) -> bytes:
    """Return the last bytes of a checkpoint, which are its checksum. Without a file: as many zeros."""
    length = len(CHECKSUM) + 64
    if file is None:
        return bytes(length)
    with file.open("rb") as content:
        content.seek(-min(length, content.seek(0, os.SEEK_END)), os.SEEK_END)
        return content.read()


def is_whole(file: Path) -> bool:
    """Return whether a checkpoint of this project has the content that was written."""
    try:
        with file.open("rb") as content:
            return zipfile.is_zipfile(content) and not _damage(content)
    except (OSError, zipfile.BadZipFile):
        return False


def set_aside(file: Path) -> Path:
    """Rename a checkpoint that cannot be used, so that it stays for inspection. Return its new path."""
    aside = file.with_name(f"{file.name}.unusable")
    file.replace(aside)
    return aside


def save_checkpoint(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Write tensors in nested dicts and lists. A crash at any moment leaves the old file, or the new one, or `keep`.

    keep: the name that the old file gets, if there is one. Raises StorageError if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        remove_leftovers(path)
        with replacing(path) as partial:
            with _HashedFile(partial) as file:
                _write(state, file)
            if keep and path.is_file():
                path.replace(keep)
    except OSError as error:
        advice = " Free space on that disk." if error.errno in FULL else ""
        raise StorageError(f"{error.strerror or error}: {path}. What was there before is intact.{advice}") from error


def load_checkpoint(path: Path, advice: str = "") -> dict[str, Any]:
    """Read a checkpoint of any kind, on the CPU.

    Raises UserError, with the advice, if the file is damaged, and StorageError if it cannot be read.
    """
    try:
        with path.open("rb") as file:  # opened once: a trial may replace it meanwhile
            # Files of torch before 1.6 are no archives and have no checksums.
            damage = _damage(file) if zipfile.is_zipfile(file) else ""
            file.seek(0)
            content = None if damage else torch.load(file, map_location="cpu", weights_only=True)
        reason = damage or f"it holds a {type(content).__name__}"
    except pickle.UnpicklingError:
        # torch's message advises to run whatever code the file holds.
        content, reason = None, "it holds more than tensors and plain values"
    except Exception as error:  # foreign bytes fail in many ways
        # zipfile asks for an impossible place (EINVAL) in a damaged file. Other errors of the system are the disk's.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise StorageError(f"{error.strerror or error}: {path}.") from error
        if is_out_of_memory(error):
            raise
        content, reason = None, first_line(error).partition(". ")[0]
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}. {advice}".rstrip())
    return content


class _HashedFile(io.BufferedWriter):
    """A file that computes the checksum of what is written. It keeps an error, which torch replaces by its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _write(state: dict[str, Any], file: _HashedFile) -> None:
    try:
        torch.save(state, file)
    except RuntimeError:
        if file.error:
            raise file.error from None
        raise
    comment = CHECKSUM + file.digest.hexdigest().encode()
    # An archive ends with the length of its comment, in two bytes, and the comment. torch writes none.
    file.seek(-2, os.SEEK_END)
    file.write(len(comment).to_bytes(2, "little") + comment)
    file.flush()
    os.fsync(file.fileno())


def _damage(file: BinaryIO) -> str:
    """Return what is wrong with an archive, or ''."""
    with zipfile.ZipFile(file) as archive:
        comment = archive.comment
        if not comment.startswith(CHECKSUM):
            # Written by an earlier version or by other code. Each entry has its own checksum.
            torn = archive.testzip()
            return f"the checksum of {torn} differs" if torn else ""
    left = file.seek(0, os.SEEK_END) - len(comment) - 2
    file.seek(0)
    digest = hashlib.sha256()
    while left and (part := file.read(min(left, READ_BYTES))):
        digest.update(part)
        left -= len(part)
    digest.update(b"\0\0")
    return "" if comment == CHECKSUM + digest.hexdigest().encode() else "its checksum differs"
