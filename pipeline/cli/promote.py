"""just promote: write a sweep of a search's best rows."""

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.config.sweep_file import SAMPLE, SWEEPS, Row, load_sweep, require_name
from pipeline.errors import UserError
from pipeline.metrics.names import metric_names
from pipeline.orchestration.planner import Plan, PlannedTrial, plan_sweep, score_of

SEEDS = [0, 1, 2]


def promote(name: str, overrides: list[str], *, count: int, target: str | None) -> int:
    """Write a sweep of a search's best rows, with three seeds and to the full budget."""
    planned = plan_sweep(load_sweep(name), overrides)
    if planned.sweep.search is None:
        raise UserError(f"{planned.sweep.place}: it has no search; every row of it stands in a sweep already")
    metric, _ = metric_names(planned.config.metric.extractor)
    scored = [(score, found) for found in planned.trials if (score := _full_score(found, metric)) is not None]
    if not scored:
        raise UserError(f"{planned.sweep.place}: no trial of it has reached its end; just sweep {planned.sweep.name}")
    best = sorted(scored, key=lambda pair: pair[0])[:count]
    stem = target or f"{planned.sweep.name}_best"
    require_name(stem, "command line, --to")
    path = SWEEPS / f"{stem}.yaml"
    if path.exists():
        raise UserError(f"{path}: there is such a file; move it away, or give another name with --to=NAME")
    path.write_text(_promoted(planned, stem, best, metric), encoding="utf-8")
    for score, found in best:
        print(f"{found.trial.row}: {metric} {score:.4g}, {_settings(planned, found) or 'the defaults'}")
    task = [text for text in overrides if text.startswith("task=")]
    print(f"{path}\n{' '.join(['just sweep', stem, *task])}")
    return 0


def _promoted(planned: Plan, stem: str, best: list[tuple[float, PlannedTrial]], metric: str) -> str:
    chosen = [found.trial.row for _, found in best]
    own = [row for row in planned.sweep.rows if not row.row.startswith(SAMPLE) and row.row not in chosen]
    by_name = {row.row: row for row in planned.sweep.rows}
    # The settings that the search was compared to stay before its best.
    written = [_as_row(row) for row in [*own, *(by_name[name] for name in chosen)]]
    content = {
        "name": stem,
        "question": f"Do the best settings of {planned.sweep.name} hold with several seeds?",
        "base": [*planned.sweep.base, *(text for text in planned.overrides if not text.startswith("task="))],
        "seeds": SEEDS,
        "rows": written,
    }
    reached = "; ".join(f"{found.trial.row} {score:.4g}" for score, found in best)
    head = f"# Promoted from {planned.sweep.name} on {planned.task}; {metric} of one seed there: {reached}.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def _as_row(row: Row) -> dict[str, Any]:
    paper = {"paper": row.paper} if row.paper else {}
    return {"row": row.row, "set": dict(row.set), **paper}


def _full_score(found: PlannedTrial, metric: str) -> float | None:
    return score_of(found.record, metric) if found.state == "done" else None


def _settings(planned: Plan, found: PlannedTrial) -> Mapping[str, Any]:
    return next(row.set for row in planned.sweep.rows if row.row == found.trial.row)
