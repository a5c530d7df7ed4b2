"""Targets for trial processes in tests. Importable, since a target is pickled by its name."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from pipeline.trial.job import Outcome, Progress, TrialJob
from pipeline.trial.process import Report
from pipeline.trial.server import PRELOAD

# As much of a job as `steady` needs.
JOB = SimpleNamespace(config=SimpleNamespace(seed=7))


def steady(job: TrialJob, report: Report) -> Outcome:
    """A trial of three epochs with the seed as its score."""
    seed = job.config.seed
    for epoch in range(1, 4):
        report(Progress(epoch, 3, 0, 0.1, 0.1 * epoch, epoch, float(seed), scored_now=True, peak_live_gb=0.1))
    return Outcome("done")


def hungry(job: TrialJob, report: Report) -> Outcome:
    """A trial that needs the whole machine, and fails with less as torch does."""
    import torch  # only here, so that the other stubs start fast

    from pipeline.hardware.memory import is_out_of_memory

    with Path("tries.txt").open("a") as file:
        print(f"{job.share.memory_gb:.1f} of {job.share.slots} slots", file=file)
    try:
        if job.share.slots > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    except Exception as error:
        return Outcome("memory" if is_out_of_memory(error) else "failed", str(error))
    return steady(job, report)


def killed(job: object, report: Report) -> Outcome:
    """A trial that ends as the system ends processes when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome("done")


def killed_each_time(job: TrialJob, report: Report) -> Outcome:
    """A trial that is killed, and first adds a letter to kills.txt."""
    with Path("kills.txt").open("a") as file:
        file.write("k")
    return killed(job, report)


def endless(job: Path, report: Report) -> Outcome:
    """A trial that writes its process id to the file `job` and never ends."""
    job.write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def savable(job: Path, report: Report) -> Outcome:
    """A trial that writes its process id to the file `job`, and 'saved' when it is asked to save."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    job.write_text(str(os.getpid()))
    asked.wait()
    job.write_text("saved")
    return Outcome("interrupted", "saved")


def stubborn(job: Path, report: Report) -> Outcome:
    """A trial that writes its process id to the file `job`, never ends, and does not listen."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return endless(job, report)


def patient(job: object, report: Report) -> Outcome:
    """A trial that reports once, then ends after a second and leaves a semaphore behind, as tqdm does."""
    semaphore = multiprocessing.Lock()
    report(Progress(1, 1, 0, 0.1, 0.1, 1, None, scored_now=False, peak_live_gb=None))
    time.sleep(1)
    return Outcome("done", str(semaphore)[:0])


def greedy(job: object, report: Report) -> Outcome:
    """A trial that takes a gigabyte of memory, and more and more of it."""
    taken = [b"x" * 2**24 for _ in range(64)]
    return Outcome("done", f"with {len(taken)} pieces")


def silent(job: object, report: Report) -> Outcome:
    """A trial that exits without an outcome."""
    os._exit(3)


def faulty(job: object, report: Report) -> Outcome:
    """A trial that raises an exception."""
    raise ValueError("no such thing")


def surroundings(job: object, report: Report) -> Outcome:
    """A trial that returns its GPU and its process id."""
    return Outcome("done", f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getpid()}")


def imports(job: object, report: Report) -> Outcome:
    """A trial that returns which modules it would have to import."""
    return Outcome("done", " ".join(name for name in PRELOAD if name not in sys.modules) or "all")
