"""Saved views of a sweep in MLflow's UI, in the format of the UI itself; pure except for the time.

MLflow keeps a saved view as a tag of the experiment. Its format is not documented. This is the format of MLflow 3.17,
which `tests/test_ui.py` opens in a browser.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.records.names import (
    CONTENT_SCORES,
    PEAK_LIVE_GB,
    SECONDS_PER_ITERATION,
    best_metric,
    eval_metric,
    last_metric,
    member_tag,
    row_tag,
)

TAG = "mlflow.sharedViewState."
# The second view of a sweep.
OF_TRIALS = "-trials"
# Sections that the UI creates.
GENERATED = ("Model metrics", "System metrics")
# Sections of metrics that every trial has. They are folded, below the view's charts.
FOLDED = ("best", "cost", "eval", "last", "source", "progress", "train/discriminator", "train/generator")


def saved_views(sweep: str, fields: Sequence[str], score: str, last_step: int) -> Mapping[str, str]:
    """Return two views by their tags.

    The first shows the sweep's rows: bars and curves of means over seeds. The second shows single trials: parallel
    coordinates, curves, and the images of the last evaluation.

    Args:
        fields: the parameters by which rows differ.
        score: the distance by which rows are compared, such as 'fid'.
    """
    last, best, by_step = last_metric(score), best_metric(score), eval_metric(score)
    rows = [
        _chart("BAR", metricKey=last),
        _chart("LINE", metricKey=by_step, **_LINE),
        # The UI hides those without a value.
        *(_chart("BAR", metricKey=last_metric(content)) for content in CONTENT_SCORES),
        _chart("BAR", metricKey=best),
        _chart("BAR", metricKey=SECONDS_PER_ITERATION),
        _chart("BAR", metricKey=PEAK_LIVE_GB),
    ]
    trials = [
        _chart("PARALLEL", selectedParams=list(fields), selectedMetrics=[last], showAllRuns=True),
        _chart("LINE", metricKey=by_step, **_LINE),
        _chart("IMAGE", imageKeys=["grid"], step=last_step, showRunParams=False),
    ]
    columns = [*(f"params.`{field}`" for field in fields), "params.`seed`"]
    columns += [f"metrics.`{name}`" for name in (last, best, SECONDS_PER_ITERATION)]
    by_row = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": row_tag(sweep)}]}
    return {
        f"{TAG}{sweep}": _view(sweep, sweep, columns, rows, by_row, per_line=2),
        f"{TAG}{sweep}{OF_TRIALS}": _view(f"{sweep}, trials", sweep, columns, trials, None, per_line=1),
    }


def shared_views(tags: Mapping[str, str]) -> list[str]:
    """Return the keys of the sweeps' first views among the tags of an experiment, sorted."""
    keys = {tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG)}
    return sorted(key for key in keys if not (key.endswith(OF_TRIALS) and key.removesuffix(OF_TRIALS) in keys))


def view_address(experiment_id: str, key: str) -> str:
    """Return the path of a saved view, relative to the address of the UI."""
    shown = f"viewStateShareKey={key}&compareRunsMode=CHART&workflowType=machine_learning"
    return f"#/experiments/{experiment_id}/runs?{shown}"


_LINE = {"xAxisKey": "step", "yAxisKey": "metric", "xAxisScaleType": "linear", "scaleType": "linear", "range": {}}
_LINE |= {"lineSmoothness": 0, "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True, "yAxisExpressions": []}


def _chart(kind: str, **settings: Any) -> dict[str, Any]:
    shared = {"metricSectionId": "result", "runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"type": kind, **shared, **settings}


def _view(
    name: str,
    sweep: str,
    columns: Sequence[str],
    charts: Sequence[Mapping[str, Any]],
    group_by: Mapping[str, Any] | None,
    *,
    per_line: int,
) -> str:
    sections = [
        {**_section("result", "Results", shown=True), "columns": per_line, "cardHeight": 320 if group_by else 420}
    ]
    sections += [_section(folded, folded, shown=False) for folded in FOLDED]
    sections += [{**_section(title, title, shown=False), "isGenerated": True} for title in GENERATED]
    state = {
        "searchFilter": f"tags.`{member_tag(sweep)}` = 'yes'", "orderByKey": "attributes.start_time",
        "orderByAsc": True, "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [],
        "modelVersionFilter": "All Runs", "selectedColumns": list(columns), "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True, "groupBy": group_by, "groupsExpanded": {}, "useGroupedValuesInCharts": True,
        "compareRunCharts": [{"uuid": f"chart{number}", **chart} for number, chart in enumerate(charts)],
        "compareRunSections": sections,
        # Otherwise the UI sorts sections by name.
        "isAccordionReordered": True,
    }  # fmt: skip
    now = int(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})


def _section(identity: str, name: str, *, shown: bool) -> dict[str, Any]:
    fixed = {"isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": identity.replace("/", "-"), "name": name, "display": shown, **fixed}
