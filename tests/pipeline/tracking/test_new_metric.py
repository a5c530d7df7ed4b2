"""A new metric is one entry in `analysis.records.names`, and the function that computes it."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from analysis.figures.draw import draw
from analysis.records import names
from analysis.records.csv_files import to_csv
from analysis.records.names import Metric
from analysis.statistics import estimates
from analysis.store.evaluations import read_course
from analysis.store.reader import read_sweep
from analysis.tables.formats import markdown
from analysis.tables.table import table
from pipeline.config.sweep_file import Row, Sweep
from pipeline.metrics import evaluator
from pipeline.metrics.extra_metrics import ExtraMetric, Images
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements
from pipeline.tracking.store import Tracker
from pipeline.trial.run import run_trial

NO_PAPER = {"fid": {}, "protocol": {}}


def sharpness(sources: Images, outputs: Images) -> dict[str, float]:
    return {"sharpness": float(np.abs(np.diff(outputs.astype(float), axis=-1)).mean())}


@pytest.fixture
def with_sharpness(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Metric("sharpness", "sharpness", "higher", 2, {"last": "last"}, "levels", note="Sharpness: mean gradient.")
    monkeypatch.setattr(names, "SCORES", (*names.SCORES, entry))
    monkeypatch.setattr(evaluator, "pair_metrics", lambda *_: [ExtraMetric(sharpness, {})])


def run(overrides: tuple[str, ...]) -> Tracker:
    plan = plan_sweep(Sweep("mine", "Sharper?", (0,), (Row("a", {}),)), overrides)
    for job in register_trials(plan, estimate_requirements(plan)):
        list(run_trial(job))
    return plan.tracker


@pytest.mark.usefixtures("project", "with_sharpness")
def test_a_new_metric_is_recorded_and_shown_by_its_entry(
    tiny_overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = run(tiny_overrides)
    (trial,) = tracker.find_trials().values()
    assert {f"{group}/sharpness" for group in ("eval", "last", "best", "source")} <= set(trial.metrics)
    record = read_sweep(tracker.uri, "mine", "stripes")
    made = table(record, NO_PAPER)
    header = "sharpness, last, levels ↑"
    assert made.cells.loc["a", header] == f"{trial.metrics['last/sharpness']:.2f}"
    assert header in markdown(record, made)
    assert "Sharpness: mean gradient." in markdown(record, made)
    assert "last/sharpness" in to_csv(record, read_course(tracker.uri, record, "sharpness"))["table.csv"]
    # A distance by which rows are compared is in every figure.
    monkeypatch.setattr(estimates, "MAIN_SCORES", ("sharpness",))
    course = read_course(tracker.uri, record, "sharpness")
    labels = {axes.get_ylabel() for drawing in draw(record, course, {}, None) for axes in drawing.figure.axes}
    assert any(label.startswith("sharpness") for label in labels)


def test_every_recorded_metric_has_an_entry(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    tracker = run(tiny_overrides)
    (trial,) = tracker.find_trials().values()
    final = {name for name in trial.metrics if name.startswith(names.FINAL_GROUPS)}
    known = {metric.name for metric in (*names.SCORES, *names.COSTS)}
    known |= {"step", *(names.deviation_name(kernel) for _, kernel in names.DISTANCES)}
    assert {name.partition("/")[2] for name in final} <= known
    assert MlflowClient(tracker.uri).get_run(trial.run_id).data.tags.keys() >= {
        *(names.Tag.KIND, names.Tag.TRIAL_KEY, names.Tag.WORK, names.Tag.TIMED, names.Tag.EXTRACTOR),
        *(names.row_tag("mine"), names.settings_tag("mine")),
    }
