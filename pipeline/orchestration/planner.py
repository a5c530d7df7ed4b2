"""Plan a sweep: compose its trials, prepare the data, and look up once what is recorded of each trial."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Literal

from analysis.records.address import without_password
from analysis.records.names import eval_metric, last_metric, row_tag, settings_tag
from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.config.compute import cluster_address
from pipeline.config.places import trials_folder
from pipeline.config.schema import Config, FolderConfig, MetricConfig, StripesConfig
from pipeline.config.single_image.settings import CropsConfig
from pipeline.config.sweep_file import SAMPLE, Row, Sweep, Trial, expand, sampled_row, with_seeds
from pipeline.config.trial_key import trial_key
from pipeline.data.dataset_cache import PreparedData, are_drawn, list_splits, open_dataset, prepare
from pipeline.errors import UserError, collected
from pipeline.hardware.device import Machine, find_machine
from pipeline.metrics.names import OPERATIONS_PER_IMAGE, has_weights, main_metric
from pipeline.orchestration.forecast import Work, remaining_work
from pipeline.storage.address import is_address
from pipeline.tracking.lease import is_leased
from pipeline.tracking.store import Tracker, TrialRecord, store_lock
from pipeline.training.execution import StepCost
from pipeline.trial.lock import is_claimed

# In all images of task=stripes. A plan draws no more: this takes seconds, and some hundred megabytes.
MOST_PIXELS_IN_A_PLAN = 10_000_000
Records = Mapping[str, TrialRecord]
# training: by another process, at this moment. stopped: by a search; an ablation trains it to the end.
State = Literal["done", "stopped", "training", "interrupted", "failed", "new"]
_STATES: dict[str, State] = {"FINISHED": "done", "FAILED": "failed", "SCHEDULED": "new", "KILLED": "stopped"}


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a sweep: its key ('' if the data is not here), and its state in the records."""

    trial: Trial
    key: str
    state: State
    record: TrialRecord | None


@dataclass(frozen=True)
class Plan:
    """Every trial of a sweep, in the order in which they run, and where data and records are.

    `config` is the first trial's; all trials have the same data, metric, compute, tracking and paths. data: None if the
    images are not here. train_images: of the larger domain. test_images: of A. Both are of the published set if the
    images are not here. With one image for each domain, these are the crops of an epoch, and how many crops both images
    are large. former: the trials that earlier runs of the sweep had and this one has not.
    """

    sweep: Sweep
    overrides: tuple[str, ...]
    config: Config
    trials: tuple[PlannedTrial, ...]
    data: PreparedData | None
    train_images: int
    test_images: int
    machine: Machine
    tracker: Tracker
    former: tuple[TrialRecord, ...] = ()

    @property
    def task(self) -> str:
        """The name of the data in tables and records."""
        return self.config.data.name

    @property
    def cluster(self) -> str:
        """The address of the Ray cluster on which trials run; '' for this machine alone."""
        return cluster_address(self.config.compute)

    @property
    def log_file(self) -> Path:
        """The file with a line for every event of the sweep."""
        return Path(self.config.paths.logs) / f"{self.sweep.name}-{self.task}.log"

    @property
    def metric(self) -> str:
        """The distance by which rows are compared, such as 'fid'."""
        return main_metric(self.config.metric.extractor)

    @property
    def steps_per_epoch(self) -> int:
        """Of a trial with this plan's batch size."""
        return self.train_images // self.config.train.batch_size

    @property
    def samples_to_draw(self) -> int:
        """How many rows a search will still sample, from the scores of earlier ones."""
        search = self.sweep.search
        if search is None or search.sampler == "random":
            return 0
        return max(0, search.samples - sum(row.row.startswith(SAMPLE) for row in self.sweep.rows))

    @property
    def final_statuses(self) -> tuple[str, ...]:
        """MLflow's statuses of a trial that has ended as planned; a search may stop its trials."""
        return ("FINISHED", "KILLED") if self.sweep.search else ("FINISHED",)

    def remaining_work(self, planned: PlannedTrial) -> Work:
        """The steps and evaluations that a trial still needs."""
        done = planned.record.step if planned.record else 0
        return remaining_work(planned.trial.config, self.train_images, done)

    def remaining_operations(self, planned: PlannedTrial, cost: StepCost) -> float:
        """The floating-point operations that a trial still needs."""
        work = self.remaining_work(planned)
        an_image = cost.translation_operations + OPERATIONS_PER_IMAGE[self.config.metric.extractor]
        return work.steps * cost.operations + work.evaluations * self.test_images * an_image

    def to_train(self, *, retry_failed: bool = False) -> list[PlannedTrial]:
        """The trials that are not at their end; failed ones only with retry_failed."""
        ended = {"done"} | ({"stopped"} if self.sweep.search else set()) | (set() if retry_failed else {"failed"})
        return [planned for planned in self.trials if planned.state not in ended]


def plan_sweep(sweep: Sweep, overrides: Sequence[str], *, without_data: bool = False) -> Plan:
    """Compose every row, prepare the data, and look up the records. Trains nothing and records nothing.

    without_data: plan also if the images are not here, or would take long to draw, provided that the configuration
    states how many there are.
    """
    sweep, overrides = with_seeds(sweep, overrides)
    trials = _trials(sweep, overrides)
    config = trials[0].config
    if without_password(config.tracking.uri) != config.tracking.uri:
        raise UserError(
            f"{sweep.place}: tracking.uri holds a password. Give the address as MLFLOW_TRACKING_URI instead."
        )
    uri = tracking_uri(config)
    lock = store_lock(uri, trials_folder(config.paths).absolute())
    tracker = Tracker(uri, config.data.name, Path("mlartifacts").absolute().as_uri(), lock)
    tracker.require_answer()  # before the images are prepared, which can take minutes
    # The nodes of a cluster are asked once it is joined. This machine may be none of them.
    machine = find_machine(replace(config.compute, device="cpu") if cluster_address(config.compute) else config.compute)
    faults: list[str] = []
    with collected(faults):
        data = _open_data(config, without_data=without_data)
    if faults:
        raise UserError(*faults, *_lacking_weights(config.metric))
    plan = Plan(sweep, tuple(overrides), config, (), *data, machine, tracker)
    records = tracker.find_trials()
    if _samples_are_recorded(sweep):
        return replan(plan, sweep, records)
    return _look_up(plan, trials, records)


def _trials(sweep: Sweep, overrides: Sequence[str]) -> list[Trial]:
    """Return every trial. If a row is faulty, raise UserError also with what else would stop the sweep."""
    faults: list[str] = []
    with collected(faults):
        return expand(sweep, overrides)
    with suppress(UserError):  # of settings that are faulty themselves, which `faults` has already
        config = compose_surroundings([*sweep.base, *overrides])
        if isinstance(config.data, FolderConfig) and not is_address(config.data.root):
            with collected(faults):
                list_splits(config.data)
        faults += _lacking_weights(config.metric)
    raise UserError(*faults)


def _lacking_weights(metric: MetricConfig) -> list[str]:
    """Return why the extractor's weights are not available, in a line, or nothing if they are."""
    if not has_weights(metric.extractor):
        return []
    from pipeline.checks.services import check_weights  # torch-fidelity, which takes a second to import

    check = check_weights(metric)
    return [str(check)] if check.status == "fault" else []


def replan(plan: Plan, sweep: Sweep, records: Records) -> Plan:
    """Return the plan of a sweep that has got more rows, from `records` read just now.

    Data and machine stay those of the plan: while trials run, less memory of a GPU is free than they share.
    """
    if _samples_are_recorded(sweep):
        names = {row.row for row in sweep.rows}
        recorded = tuple(row for row in _recorded_samples(sweep.name, records) if row.row not in names)
        sweep = replace(sweep, rows=(*sweep.rows, *recorded))
    return _look_up(replace(plan, sweep=sweep), expand(sweep, plan.overrides), records)


def with_records(plan: Plan, records: Records) -> Plan:
    """Return the plan with each trial's record and state as they are now."""
    trials = [_planned_trial(plan, planned.trial, planned.key, records) for planned in plan.trials]
    return replace(plan, trials=tuple(trials))


def score_of(record: TrialRecord | None, metric: str) -> float | None:
    """The last score of a trial that is done or was stopped; None if it has not ended or has no score."""
    if record is None or record.status not in ("FINISHED", "KILLED"):
        return None
    return record.metrics.get(last_metric(metric), record.metrics.get(eval_metric(metric)))


def checkpoint_path(config: Config, key: str) -> Path:
    """The path of a trial's last checkpoint on this machine."""
    return trials_folder(config.paths).absolute() / key / "last.pt"


def _look_up(plan: Plan, trials: Sequence[Trial], records: Records) -> Plan:
    """Return the plan with these trials, their keys and what is recorded of them."""
    images = "crops in an epoch" if isinstance(plan.config.data, CropsConfig) else "images"
    for trial in trials:
        if trial.config.train.batch_size > plan.train_images:
            raise UserError(
                f"{plan.sweep.place}, row {trial.row!r}: train.batch_size is {trial.config.train.batch_size}, but "
                f"there are only {plan.train_images} {images}. Lower it."
            )
    keys = _keys(trials, plan.data)
    planned = [_planned_trial(plan, trial, key, records) for trial, key in zip(trials, keys, strict=True)]
    row, own = row_tag(plan.sweep.name), set(keys)
    former = tuple(record for key, record in records.items() if row in record.tags and key not in own)
    return replace(plan, config=trials[0].config, trials=tuple(planned), former=former)


def _planned_trial(plan: Plan, trial: Trial, key: str, records: Records) -> PlannedTrial:
    record = records.get(key)
    if record is None:
        return PlannedTrial(trial, key, "new", None)
    folder = checkpoint_path(plan.config, key).parent
    if record.status != "FINISHED" and key and (is_claimed(folder, plan.tracker.uri) or is_leased(record.tags)):
        return PlannedTrial(trial, key, "training", record)
    return PlannedTrial(trial, key, _STATES.get(record.status, "interrupted"), record)


def _samples_are_recorded(sweep: Sweep) -> bool:
    """Whether the search's samples depended on scores, so that they are read back and not sampled again."""
    return sweep.search is not None and sweep.search.sampler == "optuna"


def _recorded_samples(sweep: str, records: Records) -> list[Row]:
    """The rows that a search has sampled so far, in their order; numbered anew, since a row may have been dropped."""
    rows = [
        (record.tags.get(row_tag(sweep), ""), record.tags.get(settings_tag(sweep), "{}")) for record in records.values()
    ]
    numbered = {int(row.removeprefix(SAMPLE)): json.loads(found) for row, found in rows if row.startswith(SAMPLE)}
    return [sampled_row(number, numbered[old]) for number, old in enumerate(sorted(numbered))]


def _open_data(config: Config, *, without_data: bool) -> tuple[PreparedData | None, int, int]:
    """Prepare the data. Return it, and the numbers of training and of test images as in a plan."""
    data = config.data
    if without_data and isinstance(data, FolderConfig) and data.expected_images and not Path(data.root).exists():
        train_a, train_b, test_a, _ = data.expected_images
        return None, max(train_a, train_b), test_a
    if without_data and isinstance(data, StripesConfig) and not are_drawn(data, Path(config.paths.cache)):
        height, width = data.size
        if 2 * (data.train_count + data.test_count) * height * width > MOST_PIXELS_IN_A_PLAN:
            return None, data.train_count, data.test_count
    prepared = prepare(data, Path(config.paths.cache))
    found = open_dataset(prepared.folder)
    if isinstance(data, CropsConfig):
        pixels = sum(images[0, 0].size for images in (found.test_a, found.test_b))
        return prepared, data.crops_per_epoch, ceil(pixels / prod(data.size))
    return prepared, max(len(found.train_a), len(found.train_b)), len(found.test_a)


def _keys(trials: Sequence[Trial], data: PreparedData | None) -> list[str]:
    if data is None:
        return [""] * len(trials)
    metric, weights = trials[0].config.metric, ""
    if has_weights(metric.extractor):
        from pipeline.metrics.extractors import weights_fingerprint  # torch-fidelity, which takes a second to import

        weights = weights_fingerprint(metric.extractor, metric.weights)
    return [trial_key(trial.config, data.fingerprint, weights) for trial in trials]
