"""The request that a trial ends early: a file in the trial's folder. `just stop` writes it, the trial looks for it.

For a trial of another machine it is a tag of its run as well, which the trial reads when it renews its lease.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from analysis.records.names import Tag

STOP_FILE = "stop"
# The folder may be on a network disk, where each look takes milliseconds.
SECONDS_BETWEEN_LOOKS = 1.0


def request_stop(folder: Path) -> None:
    """Ask the trial of this folder to save and to end, or not to start."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).touch()


def withdraw_stop(folder: Path) -> None:
    """Let the trial of this folder train."""
    (folder / STOP_FILE).unlink(missing_ok=True)


def stop_requested(folder: Path, tags: Mapping[str, str]) -> bool:
    """Return whether the trial of this folder, with these tags of its run, is asked to end.

    A disk that does not answer asks nothing.
    """
    if tags.get(Tag.STOP_REQUESTED):
        return True
    with suppress(OSError):
        return (folder / STOP_FILE).exists()
    return False


def watch_for_stop(folder: Path, latest_tags: Callable[[], Mapping[str, str]]) -> Callable[[], bool]:
    """Return a function that says whether the trial is asked to end. It looks at most once a second.

    latest_tags: gives the tags of the trial's run, as they were last read.
    """
    looked, asked = -math.inf, False

    def requested() -> bool:
        nonlocal looked, asked
        if not asked and time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
            looked, asked = time.monotonic(), stop_requested(folder, latest_tags())
        return asked

    return requested
