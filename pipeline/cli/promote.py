"""just promote: write a sweep file with the best rows of a search."""

import yaml

from pipeline.config.sweep_file import SAMPLE, SWEEPS, require_name
from pipeline.errors import UserError
from pipeline.orchestration.last_run import find_last_run
from pipeline.orchestration.planner import Plan, PlannedTrial, plan_sweep, score_of

SEEDS = [0, 1, 2]


def promote(name: str, overrides: list[str], *, count: int, target: str | None) -> int:
    """Write sweeps/TARGET.yaml with the best rows of a search, three seeds and the full schedule.

    count: how many rows. target: the name of the new sweep; None for NAME_best.
    """
    planned = plan_sweep(*find_last_run(name, overrides))
    if planned.sweep.search is None:
        raise UserError(f"{planned.sweep.place} has no search: nothing to promote. Train it with: just sweep {name}")
    metric = planned.metric
    done = [found for found in planned.trials if found.state == "done"]
    scored = [(score, found) for found in done if (score := score_of(found.record, metric)) is not None]
    if not scored:
        raise UserError(f"{planned.sweep.place}: no trial is done. Run the search first: just sweep {name}")
    best = sorted(scored, key=lambda pair: pair[0])[:count]
    stem = target or f"{planned.sweep.name}_best"
    require_name(stem, "command line, --to")
    path = SWEEPS / f"{stem}.yaml"
    if path.exists():
        raise UserError(f"{path} exists already. Choose another name with --to NAME, or move the file.")
    path.write_text(_promoted(planned, stem, best, metric), encoding="utf-8")
    settings = {row.row: row.set for row in planned.sweep.rows}
    for score, found in best:
        print(f"{found.trial.row}: {metric} {score:.4g}, {settings[found.trial.row] or 'default settings'}")
    task = [text for text in planned.overrides if text.startswith("task=")]
    print(f"Wrote {path}. Train it with: {' '.join(['just sweep', stem, *task[-1:]])}")
    return 0


def _promoted(planned: Plan, stem: str, best: list[tuple[float, PlannedTrial]], metric: str) -> str:
    chosen = [found.trial.row for _, found in best]
    own = [row for row in planned.sweep.rows if not row.row.startswith(SAMPLE) and row.row not in chosen]
    by_name = {row.row: row for row in planned.sweep.rows}
    # The rows that the search was compared with come first.
    rows = [*own, *(by_name[name] for name in chosen)]
    content = {
        "name": stem,
        "question": f"Do the best settings of {planned.sweep.name} hold with several seeds?",
        "base": [*planned.sweep.base, *(text for text in planned.overrides if not text.startswith("task="))],
        "seeds": SEEDS,
        "rows": [{"row": row.row, "set": dict(row.set)} | ({"paper": row.paper} if row.paper else {}) for row in rows],
    }
    reached = "; ".join(f"{found.trial.row} {score:.4g}" for score, found in best)
    head = f"# Best rows of {planned.sweep.name} on {planned.task}. {metric} of one seed there: {reached}.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
