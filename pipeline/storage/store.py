"""Whole files at an address of any protocol that fsspec knows. No other file imports fsspec.

An object is replaced whole. Object stores do that by themselves: a PUT, and an upload in parts, appear at their end.
Elsewhere a file is written under another name and renamed.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.storage.address import joined, parent_of, protocol_of
from pipeline.storage.faults import StoreError, store_error
from pipeline.storage.sealed import sealed, unsealed

Answer = TypeVar("Answer")

# Of object stores, where a put replaces an object whole.
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "obs")
S3 = ("s3", "s3a")
# A call that hangs ends after this time, and a transfer also has a second for so many bytes.
CALL_SECONDS, BYTES_A_SECOND = 20.0, 1_000_000
ASK_AGAIN_SECONDS = 5.0
PARTIAL = ".partial-"


@dataclass(frozen=True)
class Stored:
    """An object: its size in bytes, and a text that changes with its content."""

    size: int
    version: str


class Store:
    """The objects below an address. Each call raises a StoreError of one line.

    patience: seconds for which a call is repeated while the store does not answer. call_seconds: limit of one call.
    """

    def __init__(self, address: str, *, patience: float = 0.0, call_seconds: float = CALL_SECONDS) -> None:
        self.address, self._patience, self._seconds = address.rstrip("/"), patience, call_seconds
        self._whole = protocol_of(address) in OBJECT_STORES
        self._files, self._root = _open(self.address, call_seconds)
        # Of a file system whose calls run in a loop of their own, which can end them.
        self._limited = bool(getattr(self._files, "async_impl", False))

    def put(self, file: Path, name: str) -> None:
        """Store a file under a name."""
        self._replace(name, lambda path, limit: self._files.put_file(str(file), path, **limit), file.stat().st_size)

    def write(self, name: str, content: bytes) -> None:
        """Store bytes under a name."""
        self._replace(name, lambda path, limit: self._files.pipe_file(path, content, **limit), len(content))

    def write_sealed(self, name: str, content: bytes) -> None:
        """Store bytes with their checksum."""
        self.write(name, sealed(content))

    def read_sealed(self, name: str) -> bytes:
        """Return what `write_sealed` has stored. Raises StoreError if it is damaged, also when it is read again."""
        for _ in range(2):
            if (content := unsealed(self.read(name))) is not None:
                return content
        raise StoreError(joined(self.address, name), "other", "it is damaged (its checksum differs)", "Delete it")

    def fetch(self, name: str, target: Path, size: int = 0) -> None:
        """Copy an object to a file, which appears whole. size: its bytes, for the time that this may take."""
        with replacing(target) as partial:
            self._call(name, lambda path, limit: self._files.get_file(path, str(partial), **limit), size)

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return self._call(name, lambda path, limit: self._files.cat_file(path, **limit))

    def end_of(self, name: str, count: int) -> bytes:
        """Return the last bytes of an object; all of one that has fewer."""
        return self._call(name, lambda path, limit: self._end(path, count, limit))

    def copy(self, name: str, to: str) -> None:
        """Copy an object within the store."""
        source = self._path(name)
        self._replace(to, lambda path, limit: self._files.cp_file(source, path, **limit))

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        try:
            self._call(name, lambda path, limit: self._files.rm_file(path, **limit))
        except StoreError as error:
            if error.kind != "missing":
                raise

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        return self._call(name, lambda path, limit: bool(self._files.exists(path, **limit)))

    def objects(self, folder: str = "") -> dict[str, Stored]:
        """Return all objects below a folder, by their paths in it."""
        root = self._path(folder)
        found: dict[str, Any] = self._call(folder, lambda path, limit: self._find(path, limit))
        inside = {name.removeprefix(root).lstrip("/"): info for name, info in found.items()}
        return {name: Stored(info["size"], _version(info)) for name, info in inside.items() if PARTIAL not in name}

    def folders(self) -> list[str]:
        """Return the names of the folders, sorted."""
        try:
            found = self._call("", lambda path, limit: self._files.ls(path, detail=True, **limit))
        except StoreError as error:
            if error.kind == "missing" and "bucket" not in str(error):
                return []
            raise
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def _end(self, path: str, count: int, limit: dict[str, float]) -> bytes:
        # Not each store knows the range "the last bytes", or takes one that is longer than the object.
        size = self._files.info(path, **limit)["size"]
        return self._files.cat_file(path, start=max(0, size - count), **limit) if size else b""

    def _find(self, path: str, limit: dict[str, float]) -> dict[str, Any]:
        return self._files.find(path, detail=True, **limit)

    def _path(self, name: str) -> str:
        return joined(self._root, name) if name else self._root

    def _replace(self, name: str, put: Callable[[str, dict[str, float]], object], size: int = 0) -> None:
        if self._whole:
            self._call(name, put, size)
            return

        def put_and_rename(path: str, limit: dict[str, float]) -> None:
            partial = f"{path}{PARTIAL}{secrets.token_hex(4)}"
            self._files.makedirs(parent_of(path), exist_ok=True)
            try:
                put(partial, limit)
                self._files.mv(partial, path)
            except BaseException:
                if self._files.exists(partial):
                    self._files.rm_file(partial)
                raise

        self._call(name, put_and_rename, size)

    def _call(self, name: str, ask: Callable[[str, dict[str, float]], Answer], size: int = 0) -> Answer:
        limit = {"timeout": self._seconds + size / BYTES_A_SECOND} if self._limited else {}
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return ask(self._path(name), limit)
            except Exception as error:  # libraries below fsspec have their own types
                fault = store_error(joined(self.address, name) if name else self.address, error)
                if fault.kind != "away" or time.monotonic() >= deadline:
                    raise fault from error
            time.sleep(ASK_AGAIN_SECONDS)


def _open(address: str, seconds: float) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the address's path in it. Raises UserError if that is missing."""
    import fsspec  # a tenth of a second

    protocol = protocol_of(address)
    options: dict[str, Any] = {}
    if protocol in S3:
        # The libraries would retry for minutes, and say nothing. `Store` retries itself.
        retries = {"max_attempts": 0}
        timeouts = {"connect_timeout": seconds, "read_timeout": seconds}
        # Some servers, such as rclone's, send the whole object's checksum with a part of it.
        checksums = {"response_checksum_validation": "when_required"}
        options["config_kwargs"] = {**timeouts, **checksums, "retries": retries}
    try:
        # Listings change while a trial trains elsewhere.
        files, root = fsspec.core.url_to_fs(address, use_listings_cache=False, **options)
    except ImportError as error:
        extra = "s3" if protocol in S3 else ""
        mend = f"pip install 'cut-ablation[{extra}]'" if extra else f"the package of its protocol ({error})"
        raise UserError(f"{address}: its protocol needs another package. Install it: {mend}") from None
    except ValueError as error:
        raise UserError(f"{address}: {error}. Write a protocol that fsspec knows, such as s3://") from None
    if protocol in S3:
        files.retries = 1
    return files, root


def _version(info: dict[str, Any]) -> str:
    """Return what a store says of an object's content: its hash, or when it was written."""
    names = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
    return str(next((info[name] for name in names if name in info), "")).strip('"')
