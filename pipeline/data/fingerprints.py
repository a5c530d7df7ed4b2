"""The SHA-256 of each file of a data set, remembered so that later commands read no unchanged file again.

A file is unchanged if its size, its times of change and its inode are. Git's index relies on the same.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pipeline.cache import content_key
from pipeline.data.image_io import file_status, unreadable
from pipeline.data.in_threads import in_threads
from pipeline.errors import UserError
from pipeline.files import file_digest, replacing

# A file may change twice within one tick of its disk's clock. One that changed shortly before it was read is read again
# by the next command. FAT has the longest ticks.
LONGEST_TICK_NS = 2_000_000_000

# Size, time of the last change of content and of status, inode.
Stamp = list[int]


def file_digests(files: Mapping[str, Path], memory: Path) -> dict[str, str | UserError]:
    """Return the SHA-256 of each file in hexadecimal digits, or the error of one that cannot be read, by their names.

    memory: where they are remembered. A damaged memory is ignored.
    """
    known, started = _remembered(memory), time.time_ns()
    stamps: dict[str, Stamp] = {}
    found: dict[str, str | UserError] = {}
    for name, path in files.items():
        try:
            stamps[name] = _stamp(path)
        except UserError as error:
            found[name] = error
    found |= {name: known[name][1] for name, stamp in stamps.items() if name in known and known[name][0] == stamp}
    unread = [name for name in stamps if name not in found]
    if unread:
        found |= zip(unread, in_threads(lambda name: _digest(files[name]), unread, "reading files"), strict=True)
        settled = {name: stamp for name, stamp in stamps.items() if started - max(stamp[1:3]) > LONGEST_TICK_NS}
        _remember(
            memory, {name: (stamp, digest) for name, stamp in settled.items() if isinstance(digest := found[name], str)}
        )
    return found


def combined_digest(digests: Mapping[str, str]) -> str:
    """Return one fingerprint of named contents, from the SHA-256 of each: 16 hexadecimal digits."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        # The name's bytes on the disk, also if they are no UTF-8.
        whole.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() + bytes.fromhex(digests[name]))
    return whole.hexdigest()[:16]


def _stamp(path: Path) -> Stamp:
    status = file_status(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _digest(path: Path) -> str | UserError:
    try:
        return file_digest(path)
    except OSError as error:
        return unreadable(path, error)


def _remembered(memory: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        content = json.loads(memory.read_bytes())
        if content["checksum"] == content_key(content["files"]):
            return cast(dict[str, tuple[Stamp, str]], content["files"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _remember(memory: Path, files: Mapping[str, tuple[Stamp, str]]) -> None:
    with replacing(memory) as partial:
        partial.write_text(json.dumps({"files": files, "checksum": content_key(files)}), encoding="ascii")
