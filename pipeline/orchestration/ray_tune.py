"""Many trials at once, as many as the machine carries. The only file that knows Ray."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: no telemetry, no writers of its own beside MLflow, relative paths stay valid.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Ctrl-C is the command's own matter.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
# Only reports of an evaluation have a score, which is what a search compares.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from pipeline.errors import UserError, first_line
from pipeline.hardware.share import Share
from pipeline.trial.job import Outcome, Progress, Rungs, TrialJob, job_from_json, job_to_json
from pipeline.trial.process import TrialProcess, Work, spawned_nursery, train

# What passes through Ray's store is a few numbers a trial; its default would reserve a third of the memory.
OBJECT_STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Events:
    """What the launch tells as it goes."""

    started: Callable[[str], None]
    followed: Callable[[str, Progress], None]
    ended: Callable[[str, Outcome], None]


def joins_a_cluster() -> bool:
    """Return whether trials run on a Ray cluster that is up already, and not in one started for this sweep."""
    return bool(os.environ.get("RAY_ADDRESS"))


@contextmanager
def cluster(cores: int, gpus: int, memory_gb: float) -> Iterator[None]:
    """Ray, while trials run: that of RAY_ADDRESS, else one of this machine's own, which promises so much in all."""
    if joins_a_cluster():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            num_cpus=cores,
            num_gpus=gpus,
            _memory=int(memory_gb * 1e9),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def require_offer(share: Share) -> None:
    """Raise UserError where no machine of the cluster could carry such a share, since Tune would wait for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in _resources(share).items():
        offered = max((machine.get(name, 0) for machine in machines), default=0)
        if wanted > offered:
            raise UserError(
                f"the largest machine of the cluster offers {offered:g} of {name} and a trial wants {wanted:g}; lower "
                "compute.cpus_per_trial, gpus_per_trial or memory_gb"
            )


def run_jobs(
    jobs: Iterator[TrialJob],
    at_most: int,
    slots: int,
    events: Events,
    storage: Path,
    nursery: str,
    *,
    rungs: Rungs | None = None,
    work: Work = train,
) -> None:
    """Run every job to its end, in order, side by side where there is room; `events` follow them.

    A job is taken when there is room for it, so a sampler may learn from the trials before it. A trial that fails
    stops none of the others.
    """
    # A failed trial says why in its run; Ray would print its traceback over the table as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Worker, work=work, nursery=nursery), _placement),
        tune_config=tune.TuneConfig(
            search_alg=_Jobs(jobs),
            num_samples=at_most,
            scheduler=_halving(rungs) if rungs and rungs.first_epoch < rungs.epochs else None,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,
            # One more than there is room for, which takes over the worker that is free next.
            max_concurrent_trials=slots + 1,
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage.absolute()),
            name=f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            callbacks=[_Follower(events)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (tune.TuneError, RayError) as error:
        raise UserError(
            f"Ray gave up ({first_line(error)}); the same command carries on from the checkpoints"
        ) from None


class _Worker(tune.Trainable):
    """A worker of Ray that lives as long as there are trials for it, each in a process of its own."""

    def setup(self, config: dict[str, Any], work: Work = train, nursery: str = "") -> None:
        self.work, self.held = work, ExitStack()
        # The sweep's nursery is out of reach on another machine.
        self.nursery = nursery if Path(nursery).exists() else self.held.enter_context(spawned_nursery())
        self.job: str = config["job"]
        self.process: TrialProcess | None = None

    def step(self) -> dict[str, Any]:
        # Not before: Tune gives a worker up again where another is free for its trial by then.
        try:
            self.process = self.process or TrialProcess(self.nursery, self.work, self.job)
            message = self.process.receive()
        except OSError as error:
            message = Outcome("died", f"the process that forks trials is gone ({error})")
        if isinstance(message, Outcome):
            return {"done": True, "outcome": asdict(message)}
        # A search compares what is new alone.
        compared = message.scored_now and message.step < message.steps  # at its end there is nothing to stop
        score = {"score": message.score, "epoch": message.epoch} if compared else {}
        return {"progress": asdict(message), **score}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._stop()
        self.job = new_config["job"]
        return True

    def cleanup(self) -> None:
        self._stop()
        self.held.close()

    def _stop(self) -> None:
        if self.process:
            self.process.stop()
        self.process = None


class _Jobs(Searcher):
    """Tune's source of trials: the jobs, one by one, as texts, since Tune expands what it finds inside of dicts."""

    def __init__(self, jobs: Iterator[TrialJob]) -> None:
        super().__init__(metric="score", mode="min")
        self.jobs = jobs

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searchers for a restore that is never made here: trials resume from their own checkpoints.
        return {}

    def suggest(self, trial_id: str) -> Any:
        job = next(self.jobs, None)
        return Searcher.FINISHED if job is None else {"job": job_to_json(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Follower(tune.Callback):
    """Passes on what Tune tells its callbacks. An error here would end all trials."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that is never made here.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.started(str(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "progress" in result:
            self.events.followed(str(trial), Progress(**result["progress"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        outcome = trial.last_result.get("outcome")
        self.events.ended(str(trial), Outcome(**outcome) if outcome else Outcome("stopped"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.ended(str(trial), Outcome("died", "its worker of Ray was lost"))


@dataclass(frozen=True)
class _Earlier:
    """Stands for a trial of an earlier run where Tune's schedulers ask for one."""

    trial_id: str


def _halving(rungs: Rungs) -> ASHAScheduler:
    """Asynchronous successive halving that knows the scores of earlier runs of the search."""
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode="min",
        max_t=rungs.epochs - 1,
        grace_period=rungs.first_epoch,
        reduction_factor=rungs.reduction,
        stop_last_trials=False,
    )
    for key, scores in rungs.earlier.items():
        trial: Any = _Earlier(key)
        scheduler.on_trial_add(None, trial)  # pyright: ignore[reportArgumentType]
        for epoch, score in scores:
            result = {"epoch": epoch, "score": score}
            scheduler.on_trial_result(None, trial, result)  # pyright: ignore[reportArgumentType]
    return scheduler


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([_resources(job_from_json(config["job"]).share)])


def _resources(share: Share) -> dict[str, float]:
    if share.gpus:
        return {"CPU": share.cpus, "GPU": share.gpus}
    return {"CPU": share.cpus, "memory": int(share.memory_gb * 1e9)}


def _trial_name(trial: Any) -> str:
    return job_from_json(trial.config["job"]).key
