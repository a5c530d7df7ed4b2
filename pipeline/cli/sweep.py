"""just sweep: train what is not trained yet, and write the tables."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from analysis.records.address import without_password
from analysis.records.console import wide_console
from analysis.records.names import last_metric, score_label
from pipeline.checks.addresses import require_addresses, require_cluster
from pipeline.cluster.fleet import joined_fleet
from pipeline.cluster.nodes import largest
from pipeline.config.places import report_of, results_folder, stored_trial
from pipeline.config.sweep_file import load_sweep, retries_failed
from pipeline.config.trial_key import keyed_fields
from pipeline.errors import first_line
from pipeline.event_log import open_log
from pipeline.hardware.device import describe_devices
from pipeline.hardware.mps import mps_for_packed_trials
from pipeline.metrics.names import further_scores
from pipeline.notify.address import notify_channel
from pipeline.notify.channel import Channel
from pipeline.notify.news import News
from pipeline.orchestration.leftovers import clear_leftovers
from pipeline.orchestration.planner import Plan, PlannedTrial, checkpoint_path, plan_sweep, with_records
from pipeline.orchestration.registration import make_manifest, register_trials
from pipeline.orchestration.requirements import Requirement, check_readiness, estimate_requirements
from pipeline.signals import at_first_signal
from pipeline.storage.address import is_address
from pipeline.storage.folder import put_results
from pipeline.tracking.ui_views import saved_views, view_address
from pipeline.trial.here import put_data
from pipeline.trial.process import save_trials
from pipeline.trial.server import trial_server
from pipeline.trial.stop_request import stop_requested
from pipeline.trial.waiting_records import send_waiting_records

# Where `just ui` serves MLflow by default.
LOCAL_UI = "http://127.0.0.1:5000"


def sweep(name: str, overrides: list[str], *, quiet: bool) -> int:
    """Train what is not trained yet, then write the tables."""
    console = wide_console(quiet=quiet)
    channel, overrides = notify_channel(overrides)
    retry_failed, overrides = retries_failed(overrides)
    loaded = load_sweep(name)
    require_addresses([*loaded.base, *overrides])
    require_cluster([*loaded.base, *overrides])
    console.print(f"{loaded.name}: planning. Images that are not in the cache yet are prepared.", highlight=False)
    plan = plan_sweep(loaded, overrides)
    with _telling(channel, plan) as news:
        clear_leftovers(Path(plan.config.paths.cache))
        if send_waiting_records(plan.config.paths, plan.tracker.uri):
            plan = with_records(plan, plan.tracker.find_trials())
        if plan.to_train(retry_failed=retry_failed) or plan.samples_to_draw:
            with trial_server() as server:
                check_readiness(plan)
                assert plan.data, "a sweep has its data"
                put_data(plan.config.paths, plan.data.folder)
                if plan.cluster:
                    plan = _train_on_cluster(plan, console, server, news, retry_failed=retry_failed)
                else:
                    console.print(describe_devices(plan.machine, plan.config.compute), highlight=False, soft_wrap=True)
                    plan = _train(plan, console, server, news, retry_failed=retry_failed)
        else:
            register_trials(plan)
            console.print(f"{plan.sweep.name}: nothing to train ({_counts(plan)})", highlight=False)
        _write_results(plan, console)
        print_missing_scores(plan)
        code = _print_unfinished(plan)
        _tell_end(plan, news)
    return code


def _counts(plan: Plan) -> str:
    return ", ".join(f"{n} {state}" for state, n in Counter(planned.state for planned in plan.trials).items())


@contextmanager
def _telling(channel: Channel | None, plan: Plan) -> Iterator[News]:
    """Tell the sweep's events to the channel during the body, also that it ends by an error.

    What could not be delivered is said in a line at the end, and in the log.
    """
    news = News(channel, plan.sweep.name, plan.task)
    try:
        yield news
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        what = "it was interrupted." if interrupted else f"it stopped: {first_line(error)}"
        news.ended(f"The sweep has not ended: {what} The same command resumes it.", {"reason": what})
        raise
    finally:
        if undelivered := news.close():
            print(undelivered, file=sys.stderr)
            open_log(plan.log_file).info(undelivered)


def _tell_end(plan: Plan, news: News) -> None:
    if not news.wanted:
        return
    from analysis.statistics.estimates import best_row
    from analysis.store.reader import read_sweep

    states = Counter(planned.state for planned in plan.trials)
    report = report_of(plan.config.paths, plan.sweep.name, plan.task)
    fields = {"trials": len(plan.trials), "done": states["done"], "failed": states["failed"], "report": report}
    found = best_row(read_sweep(plan.tracker.uri, plan.sweep.name, plan.task))
    best = ""
    if found:
        row, score, estimate = found
        fields |= {"best_row": row, "score": score, "mean": estimate.mean, "seeds": estimate.n}
        best = f" Lowest {score_label(score)}: {row}, {estimate.mean:.4g} (seeds: {estimate.n})."
    news.ended(f"The sweep has ended: {_counts(plan)}.{best} Report: {report}.", fields)


def _train(plan: Plan, console: Console, server: str, news: News, *, retry_failed: bool) -> Plan:
    """Train all that is left under a Ray of this machine; return the plan as it is then."""
    # Ray, which takes a second to import
    from pipeline.cluster.ray_cluster import own_cluster
    from pipeline.cluster.ray_guard import guarded
    from pipeline.orchestration.ray_tune import require_offer
    from pipeline.orchestration.runner import run_trials

    machine = plan.machine
    with ThreadPoolExecutor(max_workers=1) as background, ExitStack() as held:
        # Both take seconds, and Ray mostly waits for its own processes.
        console.print("Starting Ray, and counting the cost of a step.", highlight=False)
        estimate = background.submit(estimate_requirements, plan)
        if machine.device == "cuda" and plan.config.compute.mps == "auto" and _packs(estimate.result()):
            # Before Ray starts, because its workers copy the environment at that moment.
            held.enter_context(mps_for_packed_trials(console.print))
        with (
            own_cluster(machine.cores, machine.gpus, machine.memory_gb) as address,
            guarded(server, address, own=True),
        ):
            requirements = estimate.result()
            for share in {requirement.share for requirement in requirements}:
                require_offer(share)
            with at_first_signal(partial(_save_and_end, server)):
                return run_trials(plan, requirements, console, server, news, retry_failed=retry_failed)


def _train_on_cluster(plan: Plan, console: Console, server: str, news: News, *, retry_failed: bool) -> Plan:
    """Train all that is left on the nodes of an existing Ray cluster; return the plan as it is then."""
    from pipeline.cluster.ray_guard import guarded
    from pipeline.orchestration.fleet_places import places_of
    from pipeline.orchestration.runner import run_trials

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if plan.config.compute.mps == "auto":
        say("compute.mps=auto does nothing on a cluster. Start MPS on its machines instead.")
    assert plan.data is not None, "a sweep has its data"
    with (
        joined_fleet(plan.config, plan.data.folder, plan.tracker.uri, say) as fleet,
        guarded(server, fleet.address, own=False),
        at_first_signal(partial(_save_and_end, server)),
    ):
        plan = replace(plan, machine=largest(fleet.nodes))
        places_of(lambda: plan, fleet)  # refuses what no node can run
        requirements = estimate_requirements(plan)
        return run_trials(plan, requirements, console, server, news, retry_failed=retry_failed, fleet=fleet)


def _packs(requirements: Sequence[Requirement]) -> bool:
    """Return whether trials share a GPU."""
    return any(requirement.share.packed for requirement in requirements)


def _save_and_end(server: str) -> NoReturn:
    print("Ending: the running trials save their checkpoints. A second Ctrl-C ends at once.", file=sys.stderr)
    save_trials(server)
    raise KeyboardInterrupt


def _write_results(plan: Plan, console: Console) -> None:
    """Write tables, figures and the report from the records, if these have changed, and print where they are."""
    from analysis.report.written import note_written, state_of_records, still_written

    uri, name = plan.tracker.uri, plan.sweep.name
    state = state_of_records(uri, name, plan.task)
    results = results_folder(plan.config.paths)
    written = still_written(results / name / plan.task, state)
    if written is None:
        # pandas and matplotlib, which a trial's process does not need.
        from analysis.report.write import write_results

        console.print("Writing tables, figures and the report.", highlight=False)
        written = write_results(uri, name, plan.task, results)
        plan.tracker.attach_results(name, written.folder, written.description, _views(plan))
        note_written(written, state)
    if is_address(plan.config.paths.results):
        put_results(results, plan.config.paths.results, name, plan.task)
    report = report_of(plan.config.paths, name, plan.task)
    if console.quiet:
        print(report)
        return
    written.show(console, report)
    served = uri.startswith("http")
    server = without_password(uri).rstrip("/") if served else LOCAL_UI
    address = f"{server}/{view_address(plan.tracker.experiment_id, name)}"
    console.print(f"MLflow: {'' if served else f'just ui {name} serves '}{address}", soft_wrap=True, highlight=False)


def _views(plan: Plan) -> Mapping[str, str]:
    """Return the saved views of MLflow's UI."""
    parameters, axes = keyed_fields(plan.config), make_manifest(plan).axes
    fields = [axis for axis in axes if axis in parameters] + (["model.method"] if "model" in axes else [])
    return saved_views(plan.sweep.name, fields, plan.metric, plan.steps_per_epoch * plan.config.train.epochs)


def _print_unfinished(plan: Plan) -> int:
    """Print a line for each trial that is not at its end; return 1 if there is one, else 0."""
    unfinished = [
        planned for planned in plan.trials if not (planned.record and planned.record.status in plan.final_statuses)
    ]
    for planned in unfinished:
        print(f"{planned.trial.row}, seed {planned.trial.seed} is not done: {_why_unfinished(planned)}")
    if unfinished:
        print("Run the same command to resume. Add retry=failed to retry failed trials.")
    return 1 if unfinished else 0


def _why_unfinished(planned: PlannedTrial) -> str:
    if planned.record is None:
        return "it did not start, or it was dropped"
    config, tags = planned.trial.config, planned.record.tags
    folder = checkpoint_path(config, planned.key).parent
    stopped = stop_requested(folder, stored_trial(config.paths, planned.key), tags)
    return planned.record.error or ("it was stopped by request (just stop)" if stopped else "it was interrupted")


def print_missing_scores(plan: Plan) -> None:
    """Print a line for each score that is asked for now, and that finished trials do not have."""
    metric = plan.config.metric
    done = [planned for planned in plan.trials if planned.state == "done"]
    for score in further_scores(metric.extractor, metric.also, segmented=metric.segmentation is not None):
        lacking = [found.key[:8] for found in done if found.record and last_metric(score) not in found.record.metrics]
        if lacking:
            trials = f"{len(lacking)} finished trial{'s have' if len(lacking) > 1 else ' has'}"
            print(
                f"{trials} no {score}. Add it with: just evaluate KEY, with the same metric.also and "
                f"metric.segmentation. KEY is {', '.join(lacking)}."
            )
