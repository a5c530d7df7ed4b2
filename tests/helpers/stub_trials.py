"""Work that stands for trials in tests of what runs them; importable, since it passes between processes by its name."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.hardware.memory import is_out_of_memory
from pipeline.trial.job import Outcome, Progress


def steady(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """Three epochs, whose score is the job's seed."""
    seed = json.loads(json.loads(job)["config"])["seed"]
    for epoch in range(1, 4):
        tell(Progress(epoch, 3, 0, 0.1, 0.1 * epoch, epoch, float(seed), scored_now=True, peak_live_gb=0.1))
    return Outcome("done")


def hungry(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """A trial that has enough with half of the machine, and says so as torch does."""
    share = json.loads(job)["share"]
    with Path("tries.txt").open("a") as file:
        print(f"{share['memory_gb']:.1f} of {share['slots']} slots", file=file)
    try:
        if share["slots"] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    except Exception as error:
        return Outcome("memory" if is_out_of_memory(error) else "failed", str(error))
    return steady(job, tell)


def killed(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """A trial whose process ends as the system ends processes where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome("done")


def endless(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """A trial that writes its process down and never ends by itself."""
    Path(job).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def speechless(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """A trial that leaves without an outcome."""
    os._exit(3)


def surroundings(job: str, tell: Callable[[Progress], None]) -> Outcome:
    """What a trial finds in its environment."""
    return Outcome("done", f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getpid()}")
