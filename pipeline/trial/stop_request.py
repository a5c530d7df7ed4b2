"""The request that a trial ends early: a file in the trial's folder. `just stop` writes it, the trial looks for it.

If an address keeps a copy of the folder, the file is there too (`StoredTrial` looks). For trials of other machines it
is also a tag of the run, which a trial reads when it renews its lease.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from analysis.records.names import Tag
from pipeline.storage.faults import StoreError
from pipeline.storage.store import Store

STOP_FILE = "stop"
# The folder may be on a network disk, where each look takes milliseconds.
SECONDS_BETWEEN_LOOKS = 1.0


def request_stop(folder: Path, stored: str = "") -> None:
    """Ask the trial of this folder to save and to end, or not to start. stored: the address of its copy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).touch()
    if stored:
        Store(stored).write(STOP_FILE, b"")


def withdraw_stop(folder: Path, stored: str = "") -> None:
    """Let the trial of this folder train."""
    (folder / STOP_FILE).unlink(missing_ok=True)
    if stored:
        Store(stored).delete(STOP_FILE)


def stop_requested(folder: Path, stored: str, tags: Mapping[str, str]) -> bool:
    """Return whether the trial of this folder, with these tags of its run, is asked to end.

    stored: the address of its copy, or ''. What does not answer asks nothing.
    """
    if tags.get(Tag.STOP_REQUESTED):
        return True
    with suppress(OSError):
        if (folder / STOP_FILE).exists():
            return True
    if stored:
        with suppress(StoreError):
            return Store(stored).exists(STOP_FILE)
    return False


def stops_at(trials: str) -> set[str]:
    """Return the keys of the trials that are asked to end at an address of trials. One that is away asks nothing."""
    with suppress(StoreError):
        paths = Store(trials).objects() if trials else {}
        return {path.rpartition("/")[0] for path in paths if path.endswith(f"/{STOP_FILE}")}
    return set()


def watch_for_stop(folder: Path, latest_tags: Callable[[], Mapping[str, str]]) -> Callable[[], bool]:
    """Return a function that says whether the trial is asked to end. It looks at most once a second.

    latest_tags: gives the tags of the trial's run, as they were last read.
    """
    looked, asked = -math.inf, False

    def requested() -> bool:
        nonlocal looked, asked
        if not asked and time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
            looked, asked = time.monotonic(), stop_requested(folder, "", latest_tags())
        return asked

    return requested
