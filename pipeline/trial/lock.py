"""The lock of a trial: held by the process that trains it, and free when that process has ended.

It lies in trials/.locks, beside the folders of the trials, so that a folder can be deleted while its lock is held. If
the tracking store is a server, machines without a common disk may use it: then the process also holds a lease there.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from filelock import BaseFileLock, LeaseCompromise, Timeout

from pipeline.errors import UserError
from pipeline.locks import LEASE_SECONDS, file_lock, is_left_behind
from pipeline.tracking.lease import Lease, LeasedError, leased, uses_leases
from pipeline.trial.job import TrialJob

# `is_claimed` holds the lock for a moment; a trial that starts then waits this long.
WAIT_SECONDS = 0.5


class TakenError(UserError):
    """Another process trains this trial now."""


@contextmanager
def claimed(folder: Path, store: str = "") -> Iterator[None]:
    """Hold the lock of a trial's folder. Raises TakenError if another process holds it.

    store: the address of the tracking store. If it is a SQLite file, the trial is also locked beside that file, since
    sweeps in other working folders may use it.
    """
    with ExitStack() as held:
        for lock in _locks(folder, store):
            _acquire(lock, folder.name)
            held.callback(lock.release)
        yield


@contextmanager
def trial_lease(job: TrialJob) -> Iterator[Lease | None]:
    """Hold the lease of a job's run for the body, if its store needs leases. Raises TakenError if another holds it."""
    if not uses_leases(job.tracking_uri):
        yield None
        return
    from pipeline.tracking.store_client import RunTags  # MLflow, which Ray's workers do not need to import

    tags = RunTags(job.tracking_uri, job.run_id)
    try:
        with leased(tags, job.node, job.lost_nodes, partial(_end_without_lease, job.key)) as lease:
            yield lease
    except LeasedError as error:
        raise TakenError(f"Trial {job.key}: {error}") from None


def is_claimed(folder: Path, store: str = "") -> bool:
    """Return whether a process trains this trial now."""
    return any(_is_held(lock) for lock in _locks(folder, store))


def _acquire(lock: BaseFileLock, key: str) -> None:
    seconds = WAIT_SECONDS
    if is_left_behind(lock):
        seconds = 2 * LEASE_SECONDS
        told = f"{lock.lock_file} was not renewed for {LEASE_SECONDS:g} s. After as long again it is taken over."
        print(told, file=sys.stderr, flush=True)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise TakenError(f"Trial {key} is running in another process. Wait for it or stop it.") from None


def _is_held(lock: BaseFileLock) -> bool:
    if not Path(lock.lock_file).exists() or is_left_behind(lock):
        return False
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        return True
    lock.release()
    return False


def _locks(folder: Path, store: str) -> list[BaseFileLock]:
    from analysis.store.database import database_file  # MLflow, which Ray's workers do not need to import

    database = database_file(store)
    places = [folder.parent / ".locks", *([database.with_name(f"{database.name}.locks")] if database else [])]
    return [file_lock(place / f"{folder.name}.lock", on_loss=_end_process) for place in places]


def _end_without_lease(key: str) -> None:
    print(f"Another machine has taken trial {key} over. The process ends.", file=sys.stderr, flush=True)
    os._exit(1)


def _end_process(loss: LeaseCompromise) -> None:
    """End this process before it writes into the folder of a trial that another process trains now."""
    print(f"{loss.lock_file}: this lock was lost ({loss.reason}). The process ends.", file=sys.stderr, flush=True)
    os._exit(1)
