"""Who trains a trial, where machines share a tracking store and no disk: a lease in the tags of the trial's run.

MLflow cannot compare and set a tag, so the lease is Lamport's bakery: each process writes only its own tag. It takes a
number above all that it sees, and holds the lease if no living process has a smaller one. The holder renews its tag. A
tag that nobody renews for `LEASE_SECONDS`, by the clock of the one who waits, is abandoned.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from analysis.store.database import database_file
from pipeline.errors import UserError
from pipeline.processes import start_of, this_host
from pipeline.tracking.outage import is_outage

LEASE_SECONDS = 120.0
RENEWAL_SECONDS = 20.0
# A process that takes a number needs two calls of the store for it.
CHOOSING_SECONDS = 0.2
# A trial cannot start without the store.
MOST_SECONDS_AT_START = 3600.0
TAG = "lease."


class LeasedError(UserError):
    """Another process trains this trial now."""


class Tags(Protocol):
    """The tags of one run in a store. patience: for how many seconds a call asks again in an outage."""

    patience: float

    def read(self) -> Mapping[str, str]: ...

    def write(self, name: str, value: str) -> None: ...

    def delete(self, name: str) -> None: ...


@dataclass(frozen=True)
class Claim:
    """What a process writes about itself.

    host, pid, start: the process. node: Ray's id of its node, '' outside of a cluster. number: None while it chooses
    one. renewals: how many so far. at: when, by its own clock. over: the claims that it took for abandoned.
    """

    host: str
    pid: int
    start: int
    node: str
    number: int | None
    renewals: int
    at: float
    over: tuple[str, ...] = ()

    def is_dead(self, lost_nodes: Sequence[str]) -> bool:
        """Return whether its process has certainly ended: it was of this host, or its node has ended."""
        return (self.host == this_host() and start_of(self.pid) != self.start) or self.node in lost_nodes


def uses_leases(uri: str) -> bool:
    """Return whether a store needs leases. In a SQLite file, which one machine has, file locks do the same at once."""
    return database_file(uri) is None


def is_leased(tags: Mapping[str, str]) -> bool:
    """Return whether a process seems to train the trial with these tags, by this machine's clock."""
    return any(not claim.is_dead(()) and time.time() - claim.at < LEASE_SECONDS for claim in _claims(tags).values())


class Lease:
    """The claim of this process."""

    def __init__(self, store: Tags, node: str, lost_nodes: Sequence[str]) -> None:
        self._tags: Mapping[str, str] = {}
        self._store, self._lost_nodes = store, lost_nodes
        self._id = secrets.token_hex(4)
        pid = os.getpid()
        self._claim = Claim(this_host(), pid, start_of(pid), node, None, 0, time.time())
        # Other claims, and when this process first saw them as they are.
        self._seen: dict[str, tuple[Claim, float]] = {}

    def acquire(self) -> None:
        """Take the lease. Raises LeasedError if another process has it. Waits for one that may be dead."""
        while waiting := [claim for claim in self._others().values() if claim.number is not None]:
            if any(time.time() - claim.at < LEASE_SECONDS for claim in waiting):
                raise LeasedError("The trial is running on another machine. Wait for it or stop it.")
            time.sleep(1.0)  # until it is renewed, or abandoned by this process's clock
        self._write()
        taken = [claim.number for claim in self._others().values() if claim.number is not None]
        self._claim = replace(self._claim, number=1 + max(taken, default=0))
        self._write()
        while True:
            others = self._others()
            if any(claim.number is None for claim in others.values()):
                time.sleep(CHOOSING_SECONDS)
                continue
            mine = (self._claim.number, self._id)
            if any((claim.number, id) < mine for id, claim in others.items()):
                self.release()
                raise LeasedError("The trial is running on another machine. Wait for it or stop it.")
            break
        abandoned = tuple(id for id in _claims(self._tags) if id != self._id and id not in others)
        if abandoned:
            self._claim = replace(self._claim, over=abandoned)
            self._write()
            for id in abandoned:
                self._store.delete(f"{TAG}{id}")

    def latest_tags(self) -> Mapping[str, str]:
        """Return the tags of the run, as they were when they were last read."""
        return self._tags

    def renew(self) -> bool:
        """Say that this process lives. Return False if another one has taken the trial over."""
        self._tags = self._store.read()
        claims = _claims(self._tags)
        if self._id not in claims or any(self._id in claim.over for claim in claims.values()):
            return False
        self._claim = replace(self._claim, renewals=self._claim.renewals + 1)
        self._write()
        return True

    def release(self) -> None:
        """Give the lease back."""
        self._store.delete(f"{TAG}{self._id}")

    def _write(self) -> None:
        self._claim = replace(self._claim, at=time.time())
        self._store.write(f"{TAG}{self._id}", json.dumps(asdict(self._claim)))

    def _others(self) -> dict[str, Claim]:
        """Return the claims of other processes that may live."""
        self._tags, now = self._store.read(), time.monotonic()
        found = {id: claim for id, claim in _claims(self._tags).items() if id != self._id}
        self._seen = {
            id: self._seen[id] if id in self._seen and self._seen[id][0] == claim else (claim, now)
            for id, claim in found.items()
        }
        return {
            id: claim
            for id, claim in found.items()
            if not claim.is_dead(self._lost_nodes) and now - self._seen[id][1] < LEASE_SECONDS
        }


@contextmanager
def leased(store: Tags, node: str, lost_nodes: Sequence[str], on_loss: Callable[[], None]) -> Iterator[Lease]:
    """Hold the lease of a trial for the body. Raises LeasedError if another process holds it.

    node: Ray's id of this process's node. lost_nodes: those that have ended. on_loss: called in another thread if
    another process has taken the trial over, because this one could not renew the lease for too long.
    """
    lease, over = Lease(store, node, lost_nodes), threading.Event()
    store.patience = MOST_SECONDS_AT_START
    lease.acquire()
    store.patience = 0.0

    def renew() -> None:
        while not over.wait(RENEWAL_SECONDS):
            try:
                if not lease.renew():
                    on_loss()
            except Exception as error:
                if not is_outage(error):
                    raise
                # Others do not reach the store either, or take over after a time.

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()
        with suppress(Exception):  # a store that is away: the lease ends by itself
            lease.release()


def _claims(tags: Mapping[str, str]) -> dict[str, Claim]:
    """Return the claims in the tags of a run, by their ids."""
    found = {name.removeprefix(TAG): json.loads(value) for name, value in tags.items() if name.startswith(TAG)}
    return {id: Claim(**{**content, "over": tuple(content["over"])}) for id, content in found.items()}
