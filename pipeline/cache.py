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
