"""The commands that train: a sweep, in rounds, its tables kept fresh; and a single trial in this process."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from rich.console import Console

from analysis.records.names import last_metric
from pipeline.config.sweep_file import load_sweep, retries_failed
from pipeline.config.trial_key import keyed_fields
from pipeline.hardware.device import describe_devices
from pipeline.hardware.mps import mps_for_packed_trials
from pipeline.metrics.names import further_scores, metric_names
from pipeline.orchestration.planner import Need, Plan, find_needs, plan_sweep
from pipeline.orchestration.preflight import require_machine, require_means
from pipeline.orchestration.registration import make_manifest, register
from pipeline.tracking.ui_views import saved_views, view_address
from pipeline.trial.process import forked_nursery


def sweep(name: str, overrides: list[str], *, quiet: bool) -> int:
    """Train what is not trained yet, then write the tables."""
    with forked_nursery() as nursery:
        return _sweep(name, overrides, Console(quiet=quiet), nursery)


def _sweep(name: str, overrides: list[str], console: Console, nursery: str) -> int:
    retry_failed, overrides = retries_failed(overrides)
    planned = plan_sweep(load_sweep(name), overrides)
    if planned.to_train(retry_failed=retry_failed) or planned.samples_to_draw:
        console.print(describe_devices(planned.machine, planned.config.compute), highlight=False, soft_wrap=True)
        require_machine(planned)
        require_means(planned)
        planned = _train_left(planned, overrides, console, nursery, retry_failed=retry_failed)
    else:
        register(planned)
        counts = Counter(trial.state for trial in planned.trials)
        console.print(f"{planned.sweep.name}: nothing to train; {', '.join(f'{n} {s}' for s, n in counts.items())}")
    _write_results(planned, console)
    _say_what_is_lacking(planned)
    return _say_what_is_left(planned)


def _write_results(planned: Plan, console: Console) -> None:
    """From the records to tables, figures and the report, here and in MLflow."""
    from analysis.report.write import write_results  # matplotlib, which a trial's process need not carry

    written = write_results(planned.uri, planned.sweep.name, planned.task, Path(planned.config.paths.results))
    description = "\n\n".join((planned.sweep.question, *written.findings, "Artifacts, results/index.html: the report."))
    planned.tracker.attach_results(planned.sweep.name, written.folder, description, _views(planned))
    console.print(
        f"in MLflow (just ui): {view_address(planned.tracker.experiment_id, planned.sweep.name)}", soft_wrap=True
    )
    print(written.folder / "index.html" if console.quiet else written)


def _views(planned: Plan) -> Mapping[str, str]:
    """What MLflow's UI is to show of the sweep."""
    metric, _ = metric_names(planned.config.metric.extractor)
    parameters = keyed_fields(planned.config)
    axes = make_manifest(planned).axes
    fields = [name for name in axes if name in parameters] + (["model.method"] if "model" in axes else [])
    train = planned.config.train
    last_step = planned.steps_per_epoch * (train.constant_epochs + train.decay_epochs)
    return saved_views(planned.sweep.name, fields, metric, last_step)


def _train_left(planned: Plan, overrides: Sequence[str], console: Console, nursery: str, *, retry_failed: bool) -> Plan:
    """Train all that is left under Ray; the plan as it is then, with what a search has drawn meanwhile."""
    from pipeline.orchestration.ray_tune import cluster, require_offer  # Ray, which takes a second to import
    from pipeline.orchestration.rounds import Training

    machine = planned.machine
    with ThreadPoolExecutor(max_workers=1) as beside, ExitStack() as held:
        # Both take seconds, and Ray mostly waits for its own processes.
        counting = beside.submit(find_needs, planned)
        if machine.device == "cuda" and planned.config.compute.mps == "auto":
            # Before Ray starts, since its workers get the environment of that moment.
            held.enter_context(_mps(counting.result(), console))
        with cluster(machine.cores, machine.gpus, machine.memory_gb):
            needs = counting.result()
            for share in {need.share for need in needs}:
                require_offer(share)
            training = Training(planned, needs, overrides, console, retry_failed=retry_failed)
            training.run(nursery)
    return training.planned


def _mps(needs: Sequence[Need], console: Console) -> AbstractContextManager[None]:
    """MPS for trials of which several share a GPU, where this sweep starts its own Ray."""
    from pipeline.orchestration.ray_tune import joins_a_cluster

    if not any(need.share.packed for need in needs):
        return nullcontext()
    if joins_a_cluster():
        console.print("compute.mps=auto does nothing with RAY_ADDRESS. Start MPS on the cluster's machines instead.")
        return nullcontext()
    return mps_for_packed_trials(console.print)


def _say_what_is_left(planned: Plan) -> int:
    """A line for each trial that is not at its end; 1 where there is one."""
    records = planned.tracker.find_trials()
    over = {"FINISHED", "KILLED"} if planned.sweep.search else {"FINISHED"}
    left = [found for found in planned.trials if found.key not in records or records[found.key].status not in over]
    for found in left:
        why = (records[found.key].error or "it was interrupted") if found.key in records else "it was dropped"
        print(f"{found.trial.row}, seed {found.trial.seed} is not done: {why}")
    if left:
        print("the same command goes on from there; retry=failed tries the failed ones again")
    return 1 if left else 0


def _say_what_is_lacking(planned: Plan) -> None:
    """A line for each score that is asked for now, and was not when trials were trained that are done."""
    metric, records = planned.config.metric, planned.tracker.find_trials()
    keys = [found.key for found in planned.trials]
    done = [key for key in keys if key in records and records[key].status == "FINISHED"]
    for score in further_scores(metric.extractor, metric.also, segmented=metric.segmentation is not None):
        lacking = [key for key in done if last_metric(score) not in records[key].metrics]
        if lacking:
            print(
                f"{score}: {len(lacking)} trials were done before it was asked for; just evaluate KEY with the same "
                f"metric.… scores the last checkpoint of each ({', '.join(key[:8] for key in lacking)})"
            )
