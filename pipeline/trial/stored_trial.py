"""A copy of a trial's folder at an address: brought to the node that trains it, and kept up to date by a thread.

Training never waits for the store, except for its last checkpoint. While the store is away, the thread tries again.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pipeline.files import remove
from pipeline.signals import never
from pipeline.storage.faults import StoreError
from pipeline.storage.store import Store
from pipeline.tracking.journal import JOURNAL, bring_journal
from pipeline.training.checkpoint import LAST, PREVIOUS, checksum_of, is_whole, two_newest
from pipeline.trial.stop_request import STOP_FILE

OUTPUT = "output.txt"
# A checkpoint of the address, beside those of this node.
FETCHED = "stored-"
# How often the thread looks at the folder, and for the request to stop at the address.
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_STOPS = 1.0, 10.0
# Of the output, which changes with every line, if there is no new checkpoint.
SECONDS_BETWEEN_OUTPUTS = 60.0
SECONDS_BETWEEN_RETRIES = 10.0
# How long a trial waits for the store when it starts, and for its last checkpoint to be stored.
MOST_SECONDS_AT_START, MOST_SECONDS_AT_END = 600.0, 1800.0
# How long a trial that ends early waits. The store answers then.
MOST_SECONDS_AT_STOP = 60.0


class TrialCopy(Protocol):
    """What a trial asks of its copy. fetched: checkpoints of the address that differ from those of this node."""

    fetched: tuple[Path, ...]

    def stop_requested(self) -> bool: ...

    def require_stored(self, asked_to_stop: Callable[[], bool] = never) -> None: ...


class NoCopy:
    """Of a trial in a folder: there is nothing to do."""

    fetched: tuple[Path, ...] = ()

    def stop_requested(self) -> bool:
        return False

    def require_stored(self, asked_to_stop: Callable[[], bool] = never) -> None:
        pass


@contextmanager
def kept_at(address: str, folder: Path) -> Iterator[TrialCopy]:
    """Bring what is at an address into a trial's folder. During the body, keep the address up to date.

    Raises StoreError if the store does not answer for 10 minutes. address: '' for none.
    """
    if not address:
        yield NoCopy()
        return
    copy = StoredTrial(address, folder)
    try:
        yield copy
    finally:
        copy.close()


class StoredTrial:
    """The copy of one trial at an address. The process holds the trial's lock."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self._folder = address, folder
        self._store = Store(address)
        # Of what is stored: the name, and the state of the file of this node.
        self._put: dict[str, tuple[int, ...]] = {}
        self._output_at, self._looked_at = time.monotonic(), 0.0
        # A copy of a damaged one must not replace the one before.
        self._last_is_whole = False
        self._stop = False
        self._fault: Exception | None = None
        self._ending, self._turn = threading.Event(), threading.Lock()
        self.fetched = self._bring()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="stored trial")
        self._thread.start()

    def stop_requested(self) -> bool:
        """Return whether `just stop` has asked at the address, as the thread has last seen it."""
        return self._stop

    def require_stored(self, asked_to_stop: Callable[[], bool] = never) -> None:
        """Wait until the last checkpoint is stored. Raises StoreError after half an hour, or when asked to stop."""
        deadline = time.monotonic() + MOST_SECONDS_AT_END
        while self._changed(LAST):
            if time.monotonic() > deadline or asked_to_stop():
                why = f" ({self._fault})" if self._fault else ""
                raise StoreError(
                    self.address,
                    "away",
                    f"the last checkpoint is not stored yet{why}",
                    f"It is in {self._folder} on this node. Run the same command to go on",
                )
            time.sleep(0.1)

    def close(self) -> None:
        """End the thread, once all is stored. A store that is away is not waited for."""
        deadline = time.monotonic() + MOST_SECONDS_AT_STOP
        self._output_at = -SECONDS_BETWEEN_OUTPUTS
        while any(map(self._changed, (LAST, JOURNAL))) and not self._fault and time.monotonic() < deadline:
            time.sleep(0.1)
        self._ending.set()
        self._thread.join(MOST_SECONDS_AT_STOP)
        with suppress(StoreError, OSError):
            if not self._fault and not self._thread.is_alive():
                self._put_changed(also_output=True)
        for file in self.fetched:
            remove(file)

    def _bring(self) -> tuple[Path, ...]:
        """Bring journal and output into the folder, and checkpoints that differ beside those of this node."""
        patient = Store(self.address, patience=MOST_SECONDS_AT_START)
        found = patient.objects()
        self._stop = STOP_FILE in found
        if JOURNAL in found:
            bring_journal(patient, self._folder)
            self._put[JOURNAL] = ()  # at the address, and perhaps not as it is here
        if OUTPUT in found:
            _append_output(self._folder / OUTPUT, patient.read_sealed(OUTPUT))
        here = {checksum_of(file): file for file in two_newest(self._folder / LAST)}
        brought: list[Path] = []
        for name in (LAST, PREVIOUS):
            if name not in found:
                continue
            same = here.get(patient.end_of(name, len(checksum_of(None))))
            if same is None:
                brought.append(self._fetched(patient, name, found[name].size))
            elif name == LAST:
                self._last_is_whole = True
                if same.name == LAST:
                    self._put[LAST] = _state(same)
        return tuple(brought)

    def _fetched(self, store: Store, name: str, size: int) -> Path:
        target = self._folder / f"{FETCHED}{name}"
        for _ in range(2):
            store.fetch(name, target, size)
            if is_whole(target):
                self._last_is_whole |= name == LAST
                break
        return target

    def _keep(self) -> None:
        while not self._ending.wait(SECONDS_BETWEEN_LOOKS):
            try:
                self._put_changed(also_output=time.monotonic() - self._output_at > SECONDS_BETWEEN_OUTPUTS)
                if time.monotonic() - self._looked_at > SECONDS_BETWEEN_STOPS:
                    self._stop, self._looked_at = self._store.exists(STOP_FILE), time.monotonic()
                if self._fault:
                    print(f"{self.address} answers again.", file=sys.stderr, flush=True)
                self._fault = None
            except FileNotFoundError:
                pass  # the trial has replaced a file just now
            except (StoreError, OSError) as error:
                if self._fault is None:
                    print(f"{error}. The training goes on, and this is tried again.", file=sys.stderr, flush=True)
                self._fault = error
                self._ending.wait(SECONDS_BETWEEN_RETRIES)

    def _put_changed(self, *, also_output: bool) -> None:
        with self._turn:
            if self._changed(LAST):
                self._put_checkpoint()
                also_output = True
            if self._changed(JOURNAL):
                self._put_journal()
            if also_output and self._changed(OUTPUT):
                state = _state(self._folder / OUTPUT)
                self._store.write_sealed(OUTPUT, (self._folder / OUTPUT).read_bytes())
                self._put[OUTPUT], self._output_at = state, time.monotonic()

    def _put_checkpoint(self) -> None:
        """Store the last checkpoint, and keep the one that was stored before."""
        last, frozen = self._folder / LAST, self._folder / f".put-{LAST}"
        remove(frozen)
        try:
            # The trial may replace the file meanwhile.
            os.link(last, frozen)
        except OSError:  # a file system without links
            shutil.copyfile(last, frozen)
        try:
            if self._last_is_whole:
                self._store.copy(LAST, PREVIOUS)
            self._store.put(frozen, LAST)
            self._put[LAST], self._last_is_whole = _state(frozen), True
        finally:
            remove(frozen)

    def _put_journal(self) -> None:
        state = _state(self._folder / JOURNAL)
        if state:
            self._store.write_sealed(JOURNAL, (self._folder / JOURNAL).read_bytes())
            self._put[JOURNAL] = state
        else:
            self._store.delete(JOURNAL)
            del self._put[JOURNAL]

    def _changed(self, name: str) -> bool:
        state = _state(self._folder / name)
        if name == JOURNAL and not state:
            return name in self._put
        return bool(state) and state != self._put.get(name)


def _append_output(file: Path, stored: bytes) -> None:
    """Append what the trial has printed on other nodes. The file may be this process's output, so it stays in place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    here = file.read_bytes() if file.exists() else b""
    if not here.startswith(stored):
        with file.open("ab") as output:
            output.write(stored[len(here) :] if stored.startswith(here) else stored)


def _state(file: Path) -> tuple[int, ...]:
    """Return what changes when a file does; nothing if there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
