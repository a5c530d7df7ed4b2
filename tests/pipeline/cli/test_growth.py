"""How often commands read the store: as often for many trials as for few."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from analysis.store import open_store as opening
from pipeline.__main__ import main as pipeline
from pipeline.config.sweep_file import load_sweep
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements

FEW, MANY = "[0,1]", "[0,1,2,3]"
MINE = "name: mine\nquestion: Which?\nseeds: [0]\nrows: [{row: a, set: {}}, {row: b, set: {model.temperature: 0.5}}]\n"


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that this process gives to SQLite, in MLflow too."""
    found: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(found.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        patch.setattr(sqlite3.dbapi2, "connect", traced)
        yield found


def finish(overrides: tuple[str, ...]) -> None:
    """Let the sweep's trials be finished, each with two evaluations."""
    plan = plan_sweep(load_sweep("mine"), overrides)
    client = MlflowClient(plan.tracker.uri)
    for number, job in enumerate(register_trials(plan, estimate_requirements(plan))):
        for step in (6, 12):
            client.log_metric(job.run_id, "eval/fd_small_conv", 10.0 + number / step, step=step)
        client.log_metric(job.run_id, "last/fd_small_conv", 10.0 + number)
        client.set_terminated(job.run_id, "FINISHED")


@pytest.mark.parametrize("command", ["plan", "status", "tables", pytest.param("sweep", marks=pytest.mark.slow)])
def test_twice_the_trials_are_read_with_as_many_queries(
    command: str, project: Path, tiny_overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "sweeps/mine.yaml").write_text(MINE)
    counts: list[int] = []
    for seeds in (FEW, MANY):
        overrides = (*tiny_overrides, f"seeds={seeds}")
        finish(overrides)
        settings = {"plan": overrides, "sweep": overrides}.get(command, ())
        with statements(monkeypatch) as found:
            assert pipeline([command, "mine", *settings]) == 0
        counts.append(sum(not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK")) for statement in found))
    assert counts[0] == counts[1] > 0


def test_a_server_is_asked_as_often_for_twice_the_trials_except_for_histories(
    project: Path, tiny_overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client that reads a server has a call for the history of each run. All else is read in pages of 1000."""
    (project / "sweeps/mine.yaml").write_text(MINE)
    monkeypatch.setattr(opening, "is_readable", lambda file: False)  # MLflow's client reads the database
    calls: dict[str, list[int]] = {"plan": [], "status": []}
    from mlflow import MlflowClient as Client

    search = Client.search_runs
    asked = 0

    def count(self: Client, *arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return search(self, *arguments, **options)

    monkeypatch.setattr(Client, "search_runs", count)
    for seeds in (FEW, MANY):
        finish((*tiny_overrides, f"seeds={seeds}"))
        for command in calls:
            asked = 0
            settings = (*tiny_overrides, f"seeds={seeds}") if command == "plan" else ()
            assert pipeline([command, "mine", *settings]) == 0
            calls[command].append(asked)
    assert all(few == many > 0 for few, many in calls.values())


@pytest.mark.slow
def test_a_thousand_rows_are_planned_in_five_seconds_of_cpu_time(project: Path) -> None:
    rows = "\n".join(f"  - {{row: row {number}, set: {{model.temperature: {1.0 + number}}}}}" for number in range(1000))
    (project / "sweeps/many.yaml").write_text(f"name: many\nquestion: Which?\nseeds: [0]\nrows:\n{rows}\n")
    settings = ["data.train_count=4", "data.test_count=4", "data.size=32", "model.generator.channels=4"]
    assert pipeline(["plan", "many", *settings]) == 0  # counts the cost of a step, and measures this machine
    began = time.process_time()
    assert pipeline(["plan", "many", *settings]) == 0
    assert time.process_time() - began <= 5.0
