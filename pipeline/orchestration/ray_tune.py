"""Run trials in parallel with Ray Tune. No other file imports Ray."""

import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

# Ray reads these when it is imported: no telemetry, no loggers beside MLflow, relative paths stay valid.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# The command handles Ctrl-C.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
# Only reports that follow an evaluation have a score for the scheduler.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")

# A cluster of the sweep's own listens on loopback alone. Ray has this one variable for it, whatever the system.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from pipeline.errors import UserError, first_line
from pipeline.hardware.share import Share
from pipeline.orchestration.leftovers import ray_sessions
from pipeline.processes import children_in_own_groups
from pipeline.trial.job import Outcome, Progress, Rungs, TrialJob
from pipeline.trial.process import SERVER_ENDED, Target, TrialProcess, last_output, train
from pipeline.trial.server import trial_server

# A trial passes a few numbers through Ray's object store. Ray's default reserves 30 % of the memory.
OBJECT_STORE_BYTES = 100 * 2**20
# The setting behind each of Ray's resources.
SETTINGS = {"CPU": "compute.cpus_per_trial", "GPU": "compute.gpus_per_trial", "memory": "compute.memory_gb"}


@contextmanager
def cluster(cores: int, gpus: int, memory_gb: float) -> Iterator[str]:
    """Connect to the Ray cluster of RAY_ADDRESS, or start one on this machine that offers these resources.

    Yields the address of the cluster's control service, HOST:PORT. The arguments apply only to a cluster that is
    started here.
    """
    own: dict[str, Any] = {"address": "local", "num_cpus": cores, "num_gpus": gpus, "_memory": int(memory_gb * 1e9)}
    own |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": str(ray_sessions())}
    if address := os.environ.get("RAY_ADDRESS"):
        from pipeline.checks.services import check_ray  # torch, which Ray's workers do not need to import

        # Ray itself would print dozens of lines, and try again for more than ten minutes.
        found = check_ray(address)
        if found.status == "fault":
            raise UserError(str(found))
    else:
        # Only who knows this token gets in. It is in the environment alone; Ray would keep one in the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray puts its own handler in its place, which ends the command at once.
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # Without Ray's processes, the driver may exit before its trials have saved.
        with children_in_own_groups():
            ray.init(**({} if address else own), log_to_driver=False, logging_level=logging.ERROR)
    except SystemExit:  # by that handler
        raise KeyboardInterrupt from None
    except Exception as error:  # of many kinds, from Ray's processes, sockets and files
        fault = f"RAY_ADDRESS={address}: the cluster cannot be joined" if address else "Ray could not be started"
        raise UserError(f"{fault} ({first_line(error)}). Run the same command again.") from None
    finally:
        signal.signal(signal.SIGTERM, at_sigterm)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def require_offer(share: Share) -> None:
    """Raise UserError if no node of the cluster offers this share: Tune would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, needed in _resources(share).items():
        offered = max((node.get(name, 0) for node in nodes), default=0)
        if needed > offered:
            raise UserError(
                f"No node fits this trial: it needs {_amount(name, needed)}, the largest node has "
                f"{_amount(name, offered)}. Lower {SETTINGS[name]}."
            )


class Events(tune.Callback):
    """What to call when a trial starts, reports progress and ends. The first argument is the trial's key.

    An exception in a call would end all trials.
    """

    def __init__(
        self,
        started: Callable[[str], None],
        progressed: Callable[[str, Progress], None],
        ended: Callable[[str, Outcome], None],
    ) -> None:
        self.started, self.progressed, self.ended = started, progressed, ended

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks for its own restore, which is not used.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.started(str(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "progress" in result:
            self.progressed(str(trial), Progress(**result["progress"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        outcome = trial.last_result.get("outcome")
        self.ended(str(trial), Outcome(**outcome) if outcome else Outcome("stopped"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # Ray ends workers if the machine's memory is nearly full. It says so in this file alone.
        error = Path(trial.error_file).read_text(errors="replace") if trial.error_file else ""
        if "running low on memory" in error:
            self.ended(str(trial), Outcome("memory", "Ray ended its worker, because the main memory is nearly full."))
        else:
            self.ended(str(trial), Outcome("lost", "Its Ray worker ended."))


class Jobs(Protocol):
    """Where the jobs of a run come from. `finished`: whether none will come any more."""

    @property
    def finished(self) -> bool: ...

    def next(self) -> TrialJob | None: ...


def run_jobs(
    jobs: Jobs,
    slots: int,
    events: Events,
    storage: Path,
    server: str,
    *,
    rungs: Rungs | None = None,
    target: Target = train,
) -> None:
    """Run the jobs in order, as many at once as fit. A trial that fails does not stop the others.

    Args:
        jobs: Asked for another job when there is room for it, so that a sampler can use the results so far.
        slots: How many trials run at once.
        events: Called as trials start, progress and end.
        storage: A folder for Tune's own files.
        server: The address of `trial_server`. Nodes where this path does not exist start their own server.
        rungs: When a search stops its worse trials.
        target: What a trial process runs.
    """
    # The reason of a failure is in the trial's MLflow run. Ray would also print a traceback over the live table.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Worker, target=target, server=server), _placement),
        tune_config=tune.TuneConfig(
            search_alg=_JobSearcher(jobs),
            num_samples=-1,  # as many as there are jobs
            scheduler=_asha_scheduler(rungs) if rungs and rungs.first_epoch < rungs.epochs else None,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,
            # One more than there is room for: it takes the first worker that becomes free.
            max_concurrent_trials=slots + 1,
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage.absolute()),
            name=f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            callbacks=[events],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (tune.TuneError, RayError) as error:
        raise UserError(f"Ray failed: {first_line(error)}. Run the same command again to resume.") from None


class _Worker(tune.Trainable):
    """A Ray worker, reused for one trial after another. Each trial runs in a process of its own."""

    def setup(self, config: dict[str, Any], target: Target = train, server: str = "") -> None:
        self.target, self.resources = target, ExitStack()
        # The sweep's server cannot be reached from another node.
        self.server = server if Path(server).exists() else self.resources.enter_context(trial_server())
        self.job: TrialJob = config["job"]
        self.process: TrialProcess | None = None

    def step(self) -> dict[str, Any]:
        # Not in `setup`: Tune drops a new worker if another one has become free for its trial.
        minutes = self.job.config.compute.stall_minutes
        try:
            self.process = self.process or TrialProcess(self.server, self.target, self.job)
            message = self.process.receive(60 * minutes)
        except OSError:
            message = Outcome("lost", SERVER_ENDED)
        if isinstance(message, Outcome):
            if message.ending == "lost":
                message = replace(message, reason=message.reason + last_output(self.job))
            return {"done": True, "outcome": asdict(message)}
        # The scheduler gets each score once, and not that of the last step, where there is nothing left to stop.
        stoppable = message.scored_now and message.step < message.steps
        score = {"score": message.score, "epoch": message.epoch} if stoppable else {}
        return {"progress": asdict(message), **score}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._stop()
        self.job = new_config["job"]
        return True

    def cleanup(self) -> None:
        self._stop()
        self.resources.close()

    def _stop(self) -> None:
        if self.process:
            self.process.stop()
        self.process = None


class _JobSearcher(Searcher):
    """Give Tune the jobs one by one. A job is an object, since Tune evaluates or expands some dicts."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(metric="score", mode="min")
        self.jobs = jobs

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles searchers for its own restore, which is not used: trials resume from their checkpoints.
        return {}

    def suggest(self, trial_id: str) -> Any:
        if job := self.jobs.next():
            return {"job": job}
        return Searcher.FINISHED if self.jobs.finished else None  # None: Tune asks again

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


def _asha_scheduler(rungs: Rungs) -> ASHAScheduler:
    """Return a scheduler for asynchronous successive halving that knows the scores of earlier runs of the search."""
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
        trial: Any = SimpleNamespace(trial_id=key)
        scheduler.on_trial_add(None, trial)  # pyright: ignore[reportArgumentType]
        for epoch, score in scores:
            scheduler.on_trial_result(None, trial, {"epoch": epoch, "score": score})  # pyright: ignore[reportArgumentType]
    return scheduler


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([_resources(config["job"].share)])


def _resources(share: Share) -> dict[str, float]:
    if share.gpus:
        return {"CPU": share.cpus, "GPU": share.gpus}
    return {"CPU": share.cpus, "memory": int(share.memory_gb * 1e9)}


def _amount(resource: str, value: float) -> str:
    return f"{value / 1e9:g} GB of memory" if resource == "memory" else f"{value:g} {resource}{'s' * (value != 1)}"


def _trial_name(trial: Any) -> str:
    return trial.config["job"].key
