"""just promote: write a sweep file with the best samples of a search."""

import shlex
from pathlib import Path

import yaml

from pipeline.config.sweep_file import SAMPLE, SWEEPS, Row, require_name
from pipeline.errors import UserError
from pipeline.orchestration.last_run import find_last_run
from pipeline.orchestration.planner import Plan, plan_sweep, score_of

SEEDS = [0, 1, 2]


def promote(name: str, overrides: list[str], *, count: int, target: str | None) -> int:
    """Write a sweep of a search's best samples and its other rows, with three seeds, beside the search's own file.

    count: how many samples. target: the name of the new sweep; None for NAME_best.
    """
    plan = plan_sweep(*find_last_run(name, overrides))
    sweep, path = plan.sweep, Path(plan.sweep.place)
    if sweep.search is None:
        raise UserError(f"{path} has no search: nothing to promote. Train it with: just sweep {name}")
    stem = target or f"{sweep.name}_best"
    require_name(stem, "command line, --to")
    new_path = path.with_name(f"{stem}.yaml")
    if new_path.exists():
        raise UserError(f"{new_path} exists already. Choose another name with --to NAME, or move the file.")
    best = _best_samples(plan)[:count]
    if not best:
        raise UserError(f"{path}: no sample has been trained to its end. Run the search first: just sweep {name}")
    new_path.write_text(_promoted(plan, stem, best), encoding="utf-8")
    for score, row in best:
        settings = " ".join(f"{setting}={_plain(value)}" for setting, value in row.set.items())
        print(f"{row.row}: {plan.metric} {score:.4g}, {settings}")
    given = stem if path.parent == SWEEPS else str(new_path)
    print(f"Wrote {new_path}. Train it with: {shlex.join(['just', 'sweep', given])}")
    return 0


def _best_samples(plan: Plan) -> list[tuple[float, Row]]:
    """Return the samples that were trained to their end, with their scores, the best first."""
    by_name = {row.row: row for row in plan.sweep.rows}
    return sorted(
        (
            (score, by_name[found.trial.row])
            for found in plan.trials
            if found.state == "done" and found.trial.row.startswith(SAMPLE)
            if (score := score_of(found.record, plan.metric)) is not None
        ),
        key=lambda pair: pair[0],
    )


def _promoted(plan: Plan, stem: str, best: list[tuple[float, Row]]) -> str:
    sweep = plan.sweep
    # The rows that the search was compared with come first. They are no samples, however good they are.
    rows = [*(row for row in sweep.rows if not row.row.startswith(SAMPLE)), *(row for _, row in best)]
    content = {
        "name": stem,
        "question": f"Do the best settings of {sweep.name} hold with several seeds?",
        "base": [*sweep.base, *plan.overrides],
        "seeds": SEEDS,
        "rows": [{"row": row.row, "set": dict(row.set)} | ({"paper": row.paper} if row.paper else {}) for row in rows],
        "default": sweep.default or rows[0].row,
    }
    reached = "; ".join(f"{row.row} {score:.4g}" for score, row in best)
    head = f"# Best samples of {sweep.name} on {plan.task}. {plan.metric} of one seed there: {reached}.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def _plain(value: object) -> str:
    """Return a value as in an override, with numbers rounded to four digits."""
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
