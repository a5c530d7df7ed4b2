"""just bench scale: what a sweep on many GPUs would be held up by, simulated from what this machine measures."""

import statistics
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.records.address import without_password
from pipeline.benchmarks.orchestration import time_sweep
from pipeline.benchmarks.report import Report, make_report
from pipeline.benchmarks.scale.model import Costs, simulate
from pipeline.hardware.timers import seconds_of
from pipeline.orchestration.runner import RUNS_AHEAD
from pipeline.tracking.lease import RENEWAL_SECONDS, uses_leases
from pipeline.tracking.store import Tracker, store_lock
from pipeline.tracking.store_client import StoreClient
from pipeline.tracking.trial_run import MOST_WAITING, SECONDS_BETWEEN_BATCHES

GPUS = (1, 8, 32, 100, 300, 1000)
HOURS = (0.1, 1.0, 10.0)
# Of a sweep, for each GPU.
TRIALS_A_GPU = 4
# Counted on an MLflow server: of a trial at its start and its end, and to create its run (`Tracker.begin_trial`).
TRIAL_CALLS, RUN_CALLS = 20, 5
# To time the store: rounds of calls by each client, values in each call.
ROUNDS, CALLS, CLIENTS, VALUES = 5, 20, 4, 10


def bench_scale(trials: int, store: str | None) -> Report:
    """Measure a sweep of empty trials and a store, then simulate sweeps on up to a thousand GPUs.

    store: the address of the store to measure; None for a SQLite file. A run is written into it and deleted.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = f"sqlite:///{folder}/mlflow.db"
        of_file = time_calls(file, Path(folder))
        of_store = time_calls(store, Path(folder)) if store else of_file
    costs = costs_of(time_sweep(trials), trials, of_store, leases=uses_leases(store or file))
    rows = [
        {
            "gpus": gpus,
            "hours": hours,
            "trials": TRIALS_A_GPU * gpus,
            **vars(simulate([3600 * hours] * (TRIALS_A_GPU * gpus), gpus, costs)),
        }
        for hours in HOURS
        for gpus in GPUS
    ]
    settings = {"trials": trials, "store": without_password(store) if store else "SQLite", **vars(costs)}
    # The sweep that checks the simulation has a SQLite file.
    check = checked(time_sweep(2 * trials), 2 * trials, replace(costs, call_seconds=of_file))
    return make_report("scale", rows, settings, notes=[check])


def costs_of(measured: Mapping[str, Any], trials: int, call_seconds: float, *, leases: bool) -> Costs:
    """Return the costs of a trial, which sends as much as it may.

    All of the time of an empty trial counts as the driver's. This is an upper bound.
    """
    heartbeats = 2 / RENEWAL_SECONDS if leases else 0.0  # one read and one write
    return Costs(
        driver_seconds=measured["all_trials_seconds"] / trials,
        start_seconds=measured["trial_seconds"],
        call_seconds=call_seconds,
        run_calls=RUN_CALLS,
        trial_calls=TRIAL_CALLS,
        calls_a_second=1 / SECONDS_BETWEEN_BATCHES + heartbeats,
        most_waiting=MOST_WAITING,
        runs_ahead=RUNS_AHEAD,
    )


def checked(measured: Mapping[str, Any], trials: int, costs: Costs) -> str:
    """Return how far the simulation of a sweep is from its measured time. The costs are of another one."""
    seconds = measured["all_trials_seconds"]
    said = simulate([0.0] * trials, measured["slots"], costs).seconds
    took = f"{trials} empty trials, {measured['slots']} at once, took {seconds:.1f} s"
    return f"Check with a SQLite file: {took}; simulated {said:.1f} s ({100 * (said / seconds - 1):+.0f} %)."


def time_calls(uri: str, folder: Path) -> float:
    """Return the seconds of a store for each call that writes a batch of values; the median of some rounds.

    A server gets them from several clients at once, and a SQLite file one after another.
    """
    tracker = Tracker(uri, "bench-scale", folder.as_uri(), store_lock(uri, folder))
    with tracker.lock:
        run_id = tracker.create_trial("bench", "bench")
    clients = [StoreClient(uri) for _ in range(CLIENTS if uses_leases(uri) else 1)]
    values = {f"train/{number}": float(number) for number in range(VALUES)}

    def write(client: StoreClient) -> None:
        for _ in range(CALLS):
            client.log(run_id, metrics=values)

    try:
        with ThreadPoolExecutor(len(clients)) as at_once:
            rounds = [seconds_of(lambda: list(at_once.map(write, clients))) for _ in range(ROUNDS)]
        return statistics.median(rounds) / (CALLS * len(clients))
    finally:
        tracker.delete_trial(run_id)
