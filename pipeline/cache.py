"""A cache of results that are expensive to compute. An entry is named by a hash of all that it depends on."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.files import remove, remove_leftovers, replacing
from pipeline.locks import file_lock

Result = TypeVar("Result")


class DamagedEntryError(Exception):
    """A cache entry cannot be used; the message says why."""


def content_key(content: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def cached(entry: Path, make: Callable[[Path], None], read: Callable[[Path], Result]) -> Result:
    """Return what `read` finds in the entry, a file or a folder. `make` writes the entry to a given path if it is new.

    If several processes ask for one entry, one of them makes it and the others wait. An entry for which `read` raises
    DamagedEntryError is reported on stderr and made again.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(entry.with_suffix(".lock")):
        if entry.exists():
            try:
                return read(entry)
            except DamagedEntryError as error:
                print(f"{entry}: {error}. Making this cache entry again.", file=sys.stderr)
                remove(entry)
        remove_leftovers(entry)
        with replacing(entry) as partial:
            make(partial)
        return read(entry)


def remembered(entry: Path, make: Callable[[Path], None], read: Callable[[Path], Result]) -> Result:
    """Do as `cached`, but read an unchanged entry once in this process: all trials of a sweep may ask for it."""
    entry = entry.absolute()
    known = _remembered.get(entry)
    if known and known[0] == _written(entry):
        return known[1]
    result = cached(entry, make, read)
    _remembered[entry] = _written(entry), result
    return result


# By entry, when it was written and what was read.
_remembered: dict[Path, tuple[int | None, Any]] = {}


def _written(entry: Path) -> int | None:
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:
        return None
