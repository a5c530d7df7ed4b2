"""A target for trial processes in tests of GPU shares: each trial records which GPU it sees and when it holds it.

Importable, since a target is pickled by its name. A trial's folder is that of its checkpoint. The file `RULES` next to
these folders says how many trials must run at once before any of them may end.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.trial.job import Outcome, TrialJob
from pipeline.trial.process import Report

RULES = "rules.json"
LIMIT_SECONDS = 120.0
# Lets trials overlap. No test depends on it.
LINGER_SECONDS = 0.3


@dataclass(frozen=True)
class Held:
    """What one trial held, from `start` to `end` (seconds of the monotonic clock).

    visible: CUDA_VISIBLE_DEVICES. given: the GPUs that Ray gave to its worker. pipes: CUDA_MPS_PIPE_DIRECTORY.
    """

    key: str
    gpus: float
    cpus: int
    visible: str | None
    given: tuple[str, ...]
    pipes: str | None
    start: float
    end: float


@dataclass(frozen=True)
class Holding:
    """The target. A Ray worker pickles it to start a trial, which records the GPUs that Ray gave to this worker."""

    given: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type["Holding"], tuple[tuple[str, ...]]]:
        import ray  # only here: a trial does not need it

        in_a_worker = ray.get_runtime_context().worker.mode == ray.WORKER_MODE
        ids = ray.get_runtime_context().get_accelerator_ids()["GPU"] if in_a_worker else []
        return Holding, (tuple(ids),)

    def __call__(self, job: TrialJob, report: Report) -> Outcome:
        share, folder = job.share, Path(job.checkpoint).parent
        rules = json.loads((folder.parent / RULES).read_text())
        if share.gpus and share.gpus < rules["enough"]:
            return Outcome("memory", "CUDA out of memory")
        folder.mkdir()
        start = time.monotonic()
        (folder / "started").touch()
        together = _wait_for(folder.parent, rules["at_once"])
        time.sleep(LINGER_SECONDS)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        pipes = os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
        held = Held(job.key, share.gpus, share.cpus, visible, self.given, pipes, start, time.monotonic())
        _write(folder / "held.json", asdict(held))
        return Outcome("done") if together else Outcome("failed", "the other trials did not start in time")


def held_by_all(folder: Path) -> list[Held]:
    """Return what every trial below the folder has written, in the order of their starts."""
    read = [json.loads(file.read_text()) for file in folder.glob("*/held.json")]
    return sorted((Held(**{**one, "given": tuple(one["given"])}) for one in read), key=lambda held: held.start)


def _wait_for(folder: Path, count: int) -> bool:
    """Wait until `count` trials have started. Return False if they have not within LIMIT_SECONDS."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(list(folder.glob("*/started"))) < count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content))
