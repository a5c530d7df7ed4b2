"""What trials need goes away in the middle of a sweep and comes back: the store, its lock, progress, the disk."""

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from faults import (
    Results,
    assert_as_undisturbed,
    assert_nothing_is_left,
    command,
    mlflow_server,
    results,
    start,
    stop_server,
    trial_processes,
    trials,
    until,
)

pytestmark = pytest.mark.fault


@pytest.mark.usefixtures("drawn")
def test_a_sweep_outlives_its_tracking_server(pair: Path, undisturbed: Results) -> None:
    with mlflow_server(pair) as (uri, server):
        sweep = start("sweep", "pair", MLFLOW_TRACKING_URI=uri)
        until(lambda: list(pair.glob("trials/*/last.pt")))
        stop_server(server)
        until(lambda: list(pair.glob("trials/*/unsent.json")))
        with mlflow_server(pair, port=int(uri.rpartition(":")[2])):
            said, errors = sweep.communicate(timeout=400)
            assert sweep.returncode == 0, said + errors
            assert "Traceback" not in said + errors
            assert_as_undisturbed(results(), undisturbed)
            assert_nothing_is_left(uri, [sweep])


@pytest.mark.usefixtures("drawn")
def test_records_that_the_store_has_missed_are_sent_by_tables(pair: Path, undisturbed: Results) -> None:
    with mlflow_server(pair) as (uri, server):
        sweep = start("sweep", "pair", MLFLOW_TRACKING_URI=uri)
        until(lambda: list(pair.glob("trials/*/last.pt")))
        stop_server(server)
        # Both trials end while the store is away. The sweep itself goes on asking.
        until(lambda: len(list(pair.glob("trials/*/unsent.json"))) == 2 and not trial_processes(sweep))
        sweep.send_signal(signal.SIGINT)
        said, errors = sweep.communicate(timeout=60)
        assert sweep.returncode == 130, said + errors
        with mlflow_server(pair, port=int(uri.rpartition(":")[2])):
            tables = subprocess.run(
                command("tables", "pair"),
                env={**os.environ, "MLFLOW_TRACKING_URI": uri},
                capture_output=True,
                text=True,
            )
            assert tables.returncode == 0, tables.stderr
            assert_as_undisturbed(results(), undisturbed)
            assert_nothing_is_left(uri, [sweep])


@pytest.mark.usefixtures("drawn")
def test_a_database_that_another_writer_keeps_locked_fails_no_trial(pair: Path, undisturbed: Results) -> None:
    sweep = start("sweep", "pair")
    until(lambda: list(pair.glob("trials/*/last.pt")))
    with closing(sqlite3.connect(pair / "mlflow.db", timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        until(lambda: list(pair.glob("trials/*/unsent.json")), seconds=200)
    said, errors = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said + errors
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(f"sqlite:///{pair / 'mlflow.db'}", [sweep])


@pytest.mark.usefixtures("drawn")
def test_a_trial_without_progress_is_ended_and_goes_on(pair: Path, undisturbed: Results) -> None:
    sweep = start("sweep", "pair", "compute.stall_minutes=0.3")
    until(lambda: len(trial_processes(sweep)) == 2 and len(list(pair.glob("trials/*/last.pt"))) == 2)
    os.kill(trial_processes(sweep)[0], signal.SIGSTOP)
    said, errors = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said + errors
    assert "lost, and will run again" in said and "no progress" in said
    assert_as_undisturbed(results(), undisturbed)
    (losses,) = (
        run.data.tags["losses"] for run in trials(f"sqlite:///{pair / 'mlflow.db'}") if "losses" in run.data.tags
    )
    assert losses == "1"


def test_a_store_that_does_not_answer_is_named_within_seconds(pair: Path) -> None:
    asked = subprocess.run(
        command("plan", "pair", "tracking.uri='http://127.0.0.1:9'"), capture_output=True, text=True, timeout=60
    )
    assert asked.returncode == 2
    (line,) = asked.stderr.strip().splitlines()
    assert "http://127.0.0.1:9: no server answers there" in line
