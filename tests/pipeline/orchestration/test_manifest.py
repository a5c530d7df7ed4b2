"""What is recorded of a sweep, so that its tables can be made without it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.schema import Manifest
from analysis.store.reader import read_sweep
from analysis.tables.columns import setting_columns
from pipeline.config.sweep_file import Row, Sweep, load_sweep
from pipeline.config.trial_key import RESULT_VERSION, can_change_results
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import make_manifest

DONE = ["data.train_count=4", "data.test_count=4", "data.size=32"]


def recorded(sweep: Sweep, *overrides: str) -> Manifest:
    return make_manifest(plan_sweep(sweep, [*DONE, *overrides]))


def test_the_papers_ablation_is_recorded_with_what_fig_4_has_columns_for(project: Path) -> None:
    planned = plan_sweep(load_sweep("ablation_paper"), DONE)
    planned.tracker.record_sweep(make_manifest(planned))
    record = read_sweep(planned.tracker.uri, "ablation_paper", "stripes")
    cells = setting_columns(record)
    assert list(cells) == ["Id", "Negs", "Layers", "Int", "Ext"]
    assert cells.loc["CUT (default)"].to_list() == ["yes", "63", "all", "yes", "no"]
    assert cells.loc["no id, 15 neg, last"].to_list() == ["no", "15", "last", "yes", "no"]
    assert cells.loc["ext only, last"].to_list() == ["yes", "255", "last", "no", "yes"]


def test_a_row_that_leaves_the_model_as_it_is_has_the_one_that_is_trained(project: Path) -> None:
    rows = (Row("default", {}), Row("fast", {"model": "fastcut"}))
    for base, model in (((), "cut"), (("model=cyclegan",), "cyclegan")):
        found = recorded(Sweep("mine", "Which?", (0,), rows, base=base))
        assert [row.settings["model"] for row in found.rows] == [model, "fastcut"]


def test_the_default_row_is_the_one_that_the_file_names_else_the_first(project: Path) -> None:
    rows = (Row("a", {}), Row("b", {"model.temperature": 0.5}))
    assert recorded(Sweep("mine", "Which?", (0,), rows)).default == "a"
    assert recorded(Sweep("mine", "Which?", (0,), rows, default="b")).default == "b"


def test_of_the_command_line_what_can_change_results_is_told_apart(project: Path) -> None:
    found = recorded(Sweep("mine", "Which?", (0,), (Row("a", {}),)), "train.batch_size=2", "compute.device=cpu")
    assert found.command == (*DONE, "train.batch_size=2", "compute.device=cpu")
    assert found.overrides == (*DONE, "train.batch_size=2")
    assert found.result_version == str(RESULT_VERSION)


@pytest.mark.parametrize(
    ("override", "can"),
    [
        ("train.batch_size=2", True),
        ("+model.temperature=1", True),
        ("model=fastcut", True),
        ("task=cat2dog", False),
        ("compute.device=cpu", False),
        ("paths.results=x", False),
        ("metric.also=[lpips]", False),
    ],
)
def test_what_stays_out_of_a_trials_identity_cannot_change_results(override: str, can: bool) -> None:
    assert can_change_results(override) == can


def test_a_sweep_is_recorded_again_only_where_it_is_another(project: Path) -> None:
    sweep = Sweep("mine", "Which?", (0,), (Row("a", {}), Row("b", {"model.temperature": 0.5})))
    planned = plan_sweep(sweep, DONE)
    client = MlflowClient(planned.tracker.uri)

    def count() -> int:
        return len(client.search_runs([planned.tracker.experiment_id], "tags.kind = 'sweep'"))

    for overrides in ((), (), ("compute.device=cpu",), ("paths.logs=elsewhere",)):
        again = plan_sweep(sweep, [*DONE, *overrides])
        again.tracker.record_sweep(make_manifest(again))
    assert count() == 1
    other = plan_sweep(sweep, [*DONE, "train.batch_size=2"])
    other.tracker.record_sweep(make_manifest(other))
    assert count() == 2


def test_the_last_record_of_a_sweep_counts_also_after_the_clock_was_set_back(project: Path) -> None:
    rows = (Row("a", {}), Row("b", {"model.temperature": 0.5}))
    for recorded_rows in (rows[:1], rows):
        planned = plan_sweep(Sweep("mine", "Which?", (0,), recorded_rows), DONE)
        planned.tracker.record_sweep(make_manifest(planned))
        record = read_sweep(planned.tracker.uri, "mine", "stripes")
        assert [row.row for row in record.rows] == [row.row for row in recorded_rows]
        with closing(sqlite3.connect(project / "mlflow.db")) as database:  # as if the clock had been a day ahead
            database.execute("UPDATE runs SET start_time = start_time + 86400000")
            database.commit()
