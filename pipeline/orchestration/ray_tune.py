"""Run trials in parallel with Ray Tune. Only this file and `cluster.ray_cluster` import Ray."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

# First, because it sets the variables that Ray reads when it is imported.
from pipeline.cluster.ray_cluster import live_nodes, this_node

# isort: split
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from pipeline.errors import UserError, first_line
from pipeline.hardware.share import Share
from pipeline.trial.job import Outcome, Progress, Rungs, TrialJob
from pipeline.trial.process import SECONDS_ALONE, SERVER_ENDED, Target, TrialProcess, last_output, train
from pipeline.trial.server import trial_server

# The setting behind each of Ray's resources.
SETTINGS = {"CPU": "compute.cpus_per_trial", "GPU": "compute.gpus_per_trial", "memory": "compute.memory_gb"}
# Of a cluster: the queue gives no more jobs than fit.
UNLIMITED = 10_000


def require_offer(share: Share) -> None:
    """Raise UserError if no node of the cluster offers this share: Tune would wait forever."""
    nodes = [resources for _, resources in live_nodes().values()]
    for name, needed in _resources(share).items():
        offered = max((node.get(name, 0) for node in nodes), default=0)
        if needed > offered:
            raise UserError(
                f"No node fits this trial: it needs {_amount(name, needed)}, the largest node has "
                f"{_amount(name, offered)}. Lower {SETTINGS[name]}."
            )


class Events(tune.Callback):
    """What to call when a trial starts, reports progress and ends. The first argument is the trial's key.

    each_step: called again and again meanwhile. is_gone: whether a node of the cluster has ended. An exception in a
    call would end all trials.
    """

    def __init__(
        self,
        started: Callable[[str], None],
        progressed: Callable[[str, Progress], None],
        ended: Callable[[str, Outcome], None],
        each_step: Callable[[], None] = lambda: None,
        is_gone: Callable[[str], bool] = lambda node: False,
    ) -> None:
        self.started, self.progressed, self.ended = started, progressed, ended
        self.each_step, self.is_gone = each_step, is_gone

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks for its own restore, which is not used.
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.each_step()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.started(str(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "progress" in result:
            self.progressed(str(trial), Progress(**result["progress"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        outcome = trial.last_result.get("outcome")
        if not outcome and self.is_gone(trial.config["job"].node):
            self.ended(str(trial), Outcome("lost", "Its node has left the cluster."))
        else:
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
        slots: How many trials run at once; `UNLIMITED` if the jobs come only when a node has room for them.
        events: Called as trials start, progress and end.
        storage: A folder for Tune's own files.
        server: The address of `trial_server`. Other nodes start their own server.
        rungs: When a search stops its worse trials.
        target: What a trial process runs.
    """
    # The reason of a failure is in the trial's MLflow run. Ray would also print a traceback over the live table.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_Worker, target=target, server=server, server_node=this_node()), _placement
        ),
        tune_config=tune.TuneConfig(
            search_alg=_JobSearcher(jobs),
            num_samples=-1,  # as many as there are jobs
            scheduler=_scheduler(rungs, events.is_gone),
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

    def setup(self, config: dict[str, Any], target: Target = train, server: str = "", server_node: str = "") -> None:
        self.target, self.resources = target, ExitStack()
        # The sweep's server cannot be reached from another node.
        is_here = this_node() == server_node and Path(server).exists()
        # A worker is killed when the sweep ends or its node is taken away. Its trial saves.
        self.server = server if is_here else self.resources.enter_context(trial_server(SECONDS_ALONE))
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


def _scheduler(rungs: Rungs | None, is_gone: Callable[[str], bool]) -> FIFOScheduler:
    """Return the order of trials: as they come, or asynchronous successive halving.

    The latter knows the scores of earlier runs of the search. is_gone: whether a node of the cluster has ended.
    """
    if rungs is None or rungs.first_epoch >= rungs.epochs:
        return _Fifo(is_gone)
    scheduler = _Asha(
        is_gone,
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


class _Fifo(FIFOScheduler):
    """Starts trials as they come. Stops those that wait for a node that has ended: Ray would let them wait for ever."""

    def __init__(self, is_gone: Callable[[str], bool], **settings: Any) -> None:
        super().__init__(**settings)
        self._is_gone = is_gone

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles schedulers for its own restore, which is not used.
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        for trial in list(tune_controller.get_live_trials()):
            if trial.status == "PENDING" and self._is_gone(trial.config["job"].node):
                tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)


class _Asha(_Fifo, ASHAScheduler):
    """Stops also the worse trials of a search."""


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    job: TrialJob = config["job"]
    if not job.node:
        return tune.PlacementGroupFactory([_resources(job.share)])
    return tune.PlacementGroupFactory([_resources(job.share)], bundle_label_selector=[{"ray.io/node-id": job.node}])


def _resources(share: Share) -> dict[str, float]:
    if share.gpus:
        return {"CPU": share.cpus, "GPU": share.gpus}
    return {"CPU": share.cpus, "memory": int(share.processes * share.memory_gb * 1e9)}


def _amount(resource: str, value: float) -> str:
    return f"{value / 1e9:g} GB of memory" if resource == "memory" else f"{value:g} {resource}{'s' * (value != 1)}"


def _trial_name(trial: Any) -> str:
    return trial.config["job"].key
