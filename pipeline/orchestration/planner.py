"""What a sweep would do: each trial with its identity, what is recorded of it, and what it is promised."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from analysis.records.names import eval_metric, last_metric, row_tag, settings_tag
from pipeline.config.compose import tracking_uri
from pipeline.config.schema import Config, FolderConfig
from pipeline.config.search_space import Sample
from pipeline.config.sweep_file import SAMPLE, Sweep, Trial, expand, with_seeds
from pipeline.config.trial_key import trial_key
from pipeline.data.dataset_cache import DataConfig, PreparedData, open_dataset, prepare
from pipeline.errors import UserError
from pipeline.hardware.allocation import share_of
from pipeline.hardware.circumstances import execution_name
from pipeline.hardware.device import Machine, find_machine
from pipeline.hardware.share import Share
from pipeline.metrics.names import OPERATIONS_PER_IMAGE, has_weights
from pipeline.orchestration.forecast import ImageCounts, Prediction, Work, predict_memory, work_left
from pipeline.tracking.store import Tracker, TrialRecord, store_lock
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import StepCost, step_cost
from pipeline.trial.lock import is_claimed

# training: by another process, at this moment. stopped: by a search; an ablation takes it to its end.
State = Literal["done", "stopped", "training", "interrupted", "failed", "new"]
_STATES: dict[str, State] = {"FINISHED": "done", "FAILED": "failed", "SCHEDULED": "new", "KILLED": "stopped"}


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a sweep: its key ('' where the data is not here), and its state in the records."""

    trial: Trial
    key: str
    state: State
    record: TrialRecord | None


@dataclass(frozen=True)
class Need:
    """What a trial needs: the cost of a step, the memory it is thought to take, and what it is promised therefore;
    alike are the recorded trials of the same cost."""

    cost: StepCost
    memory: Prediction
    share: Share
    alike: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class Plan:
    """A sweep laid out: every trial in the order in which they run, and where data and records lie.

    `config` is the first trial's; all share its data, metric, compute, tracking and paths. data is None where the
    images are not here, and counts are those of the published set then.
    """

    sweep: Sweep
    overrides: tuple[str, ...]
    config: Config
    trials: tuple[PlannedTrial, ...]
    data: PreparedData | None
    counts: ImageCounts
    machine: Machine
    tracker: Tracker
    uri: str

    @property
    def task(self) -> str:
        """What tables and records call the data."""
        return self.config.data.name

    @property
    def steps_per_epoch(self) -> int:
        """Of a trial with this plan's batch size."""
        return max(self.counts.train_a, self.counts.train_b) // self.config.train.batch_size

    @property
    def samples_to_draw(self) -> int:
        """How many rows a search will still draw, from what the earlier ones reach."""
        search = self.sweep.search
        if search is None or search.sampler == "random":
            return 0
        return max(0, search.samples - sum(row.row.startswith(SAMPLE) for row in self.sweep.rows))

    def left_of(self, planned: PlannedTrial) -> Work:
        """The steps and evaluations that a trial still needs."""
        done = planned.record.step if planned.record else 0
        return work_left(planned.trial.config, self.counts, done)

    def operations_left(self, planned: PlannedTrial, cost: StepCost) -> float:
        """The floating-point operations of them."""
        left = self.left_of(planned)
        an_image = cost.translation_operations + OPERATIONS_PER_IMAGE[self.config.metric.extractor]
        return left.steps * cost.operations + left.evaluations * self.counts.test_a * an_image

    def to_train(self, *, retry_failed: bool = False) -> list[PlannedTrial]:
        """The trials that are not at their end; failed ones where they are asked for."""
        over = {"done"} | ({"stopped"} if self.sweep.search else set()) | (set() if retry_failed else {"failed"})
        return [planned for planned in self.trials if planned.state not in over]


def plan_sweep(
    sweep: Sweep,
    overrides: Sequence[str],
    *,
    without_data: bool = False,
    data: PreparedData | None = None,
    machine: Machine | None = None,
) -> Plan:
    """Compose every row, prepare the data, take the keys, look up the records. Trains nothing.

    without_data: plan also where the images are not here, if their number is declared. data, machine: what an earlier
    plan of this process has prepared and found; while trials run, less memory of a GPU is free than they share.
    """
    sweep, overrides = with_seeds(sweep, overrides)
    trials = expand(sweep, overrides)
    first = trials[0].config
    uri = tracking_uri(first)
    lock = store_lock(uri, Path(first.paths.trials).absolute())
    if data is None and not (without_data and _is_absent(first.data)):
        data = prepare(first.data, Path(first.paths.cache))
    counts = _count(data, first.data)
    tracker = Tracker(uri, first.data.name, Path("mlartifacts").absolute().as_uri(), lock)
    records = tracker.find_trials()
    if sweep.search and sweep.search.sampler == "optuna":
        # What it has drawn so far depended on scores, so it is read back and not drawn again.
        known = {row.row for row in sweep.rows}
        recorded = sweep.with_samples(recorded_samples(sweep.name, records)).rows[len(sweep.rows) :]
        sweep = replace(sweep, rows=(*sweep.rows, *(row for row in recorded if row.row not in known)))
        trials = expand(sweep, overrides)
    _require_one_task(sweep, trials)
    _require_whole_batches(sweep, trials, counts)
    keys = _keys(trials, data)
    planned: list[PlannedTrial] = []
    for trial, key in zip(trials, keys, strict=True):
        record = records.get(key)
        state = _state(record, checkpoint_path(first, key).parent if key else None)
        planned.append(PlannedTrial(trial, key, state, record))
    machine = machine or find_machine(first.compute)
    return Plan(sweep, tuple(overrides), first, tuple(planned), data, counts, machine, tracker, uri)


def find_needs(plan: Plan) -> list[Need]:
    """What each of the plan's trials needs, in their order. Raises UserError for one that the machine cannot carry."""
    costs = [step_cost(planned.trial.config, Path(plan.config.paths.cache)) for planned in plan.trials]
    trials = len(plan.trials) + plan.samples_to_draw
    alike = {work: tuple(plan.tracker.find_trials_of_same_cost(work)) for work in {cost.work for cost in costs}}
    needs: list[Need] = []
    for planned, cost in zip(plan.trials, costs, strict=True):
        same = alike[cost.work]
        device = plan.machine.device
        execution = execution_name(resolve_execution(planned.trial.config.train, device), device)
        memory = predict_memory(cost, plan.machine, same, execution)
        try:
            share = share_of(plan.machine, plan.config.compute, memory.value, trials, live_gb=cost.live_gb)
        except UserError as error:
            raise UserError(f"{plan.sweep.place}, row {planned.trial.row!r}: {error}") from None
        needs.append(Need(cost, memory, share, same))
    return needs


def recorded_samples(sweep: str, records: Mapping[str, TrialRecord]) -> list[Sample]:
    """The samples that a search has drawn so far, in their order."""
    rows = [
        (record.tags.get(row_tag(sweep), ""), record.tags.get(settings_tag(sweep), "{}")) for record in records.values()
    ]
    numbered = {int(row.removeprefix(SAMPLE)): json.loads(found) for row, found in rows if row.startswith(SAMPLE)}
    return [numbered[number] for number in sorted(numbered)]


def score_of(record: TrialRecord | None, metric: str) -> float | None:
    """The last score of a trial that is done or was stopped; None for one that is not, or that has none."""
    if record is None or record.status not in ("FINISHED", "KILLED"):
        return None
    return record.metrics.get(last_metric(metric), record.metrics.get(eval_metric(metric)))


def checkpoint_path(config: Config, key: str) -> Path:
    """Where the trial of that key keeps its last checkpoint."""
    return Path(config.paths.trials).absolute() / key / "last.pt"


def _require_one_task(sweep: Sweep, trials: Sequence[Trial]) -> None:
    for trial in trials:
        for part in ("data", "metric", "compute", "tracking", "paths"):
            if getattr(trial.config, part) != getattr(trials[0].config, part):
                raise UserError(
                    f"{sweep.place}: rows {trials[0].row!r} and {trial.row!r} differ in {part}; a table compares rows "
                    f"on one task by one metric, so set {part} for the whole sweep"
                )


def _is_absent(data: DataConfig) -> bool:
    return isinstance(data, FolderConfig) and data.expected_images is not None and not Path(data.root).exists()


def _count(data: PreparedData | None, config: DataConfig) -> ImageCounts:
    if data is None:
        assert isinstance(config, FolderConfig) and config.expected_images is not None, "else the data is prepared"
        train_a, train_b, test_a, test_b = config.expected_images
        return ImageCounts(train_a, train_b, test_a, test_b)
    found = open_dataset(data.folder)
    return ImageCounts(len(found.train_a), len(found.train_b), len(found.test_a), len(found.test_b))


def _keys(trials: Sequence[Trial], data: PreparedData | None) -> list[str]:
    if data is None:
        return [""] * len(trials)
    metric, weights = trials[0].config.metric, ""
    if has_weights(metric.extractor):
        from pipeline.metrics.extractors import weights_fingerprint  # torch-fidelity, which takes a second to import

        weights = weights_fingerprint(metric.extractor, metric.weights)
    return [trial_key(trial.config, data.fingerprint, weights) for trial in trials]


def _require_whole_batches(sweep: Sweep, trials: Sequence[Trial], counts: ImageCounts) -> None:
    images = max(counts.train_a, counts.train_b)
    for trial in trials:
        wanted = trial.config.train.batch_size
        if wanted > images:
            place = f"{sweep.place}, row {trial.row!r}"
            raise UserError(f"{place}: train.batch_size is {wanted}, but there are only {images} images; lower it")


def _state(record: TrialRecord | None, folder: Path | None) -> State:
    if record is None:
        return "new"
    if record.status != "FINISHED" and folder and is_claimed(folder):
        return "training"
    return _STATES.get(record.status, "interrupted")
