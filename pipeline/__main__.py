"""The commands: python -m pipeline COMMAND … (the justfile's recipes call these)."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.report import write_tables
from analysis.runs import RecordsError
from pipeline.apply import evaluate, export, translate
from pipeline.compute import resolve_device
from pipeline.config import parse_override
from pipeline.errors import UserError, first_line
from pipeline.fid import load_extractor, metric_names
from pipeline.plan import Plan, plan_sweep, register
from pipeline.progress import Line, LiveTable
from pipeline.sweep import Row, Sweep, load_sweep
from pipeline.trial import run_trial


def main(arguments: list[str]) -> int:
    """Run one command; 0 is success, 1 a trial that failed, 2 something for the user to mend."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "sweep":
                return sweep(options.name, options.overrides)
            case "plan":
                return plan(options.name, options.overrides)
            case "train":
                return train(options.overrides)
            case "evaluate":
                return evaluate(options.what, options.overrides)
            case "translate":
                return translate(options.run, Path(options.input), Path(options.output), options.overrides)
            case "export":
                return export(options.run, Path(options.folder), options.overrides)
            case unknown:
                raise AssertionError(f"the parser let {unknown!r} through")
    except (UserError, RecordsError) as error:
        return _say(str(error))
    except OSError as error:
        return _say(f"{error.filename or 'a file'}: {error.strerror or error}; choose another place or free this one")
    except MemoryError as error:
        return _say(f"not enough memory ({first_line(error)}); lower the sizes")
    except KeyboardInterrupt:
        resumes = options.command in ("sweep", "train")
        print(f"interrupted{'; the same command carries on from the last checkpoints' * resumes}", file=sys.stderr)
        return 130


def sweep(name: str, overrides: list[str]) -> int:
    """Train what is not trained yet, then write the tables."""
    planned = plan_sweep(load_sweep(name), overrides)
    console = Console()
    if planned.to_train():
        from pipeline.launch import cluster, run_jobs  # Ray takes seconds to import, and nothing else here needs it

        _require_means(planned)
        with cluster(planned.config.compute):
            run_jobs(register(planned), _live_table(planned, console), Path(planned.config.paths.cache) / "ray")
    else:
        register(planned)
        console.print(f"{name}: all {len(planned.trials)} trials are done already; nothing to train")

    print(write_tables(planned.uri, name, planned.task, Path(planned.config.paths.results)))
    after = planned.tracker.find_trials()
    failed = [(trial, after[trial.key]) for trial in planned.trials if after[trial.key].status != "FINISHED"]
    for trial, record in failed:
        reason = record.error or "it was interrupted"
        print(f"{trial.trial.row}, seed {trial.trial.seed} is not done: {reason}")
    if failed:
        print("the same command goes on from there")
    return 1 if failed else 0


def plan(name: str, overrides: list[str]) -> int:
    """Print every trial and what is done already; train nothing."""
    planned = plan_sweep(load_sweep(name), overrides)
    table = Table(title=f"{name} on {planned.task}: {planned.sweep.question}", title_justify="left")
    for column in ("row", "seed", "key", "state"):
        table.add_column(column, justify="right" if column == "seed" else "left")
    for trial in planned.trials:
        state = {
            "done": "done",
            "new": "to train",
            "interrupted": f"interrupted at step {trial.record.step if trial.record else 0}, will go on",
            "failed": f"failed ({trial.record.error if trial.record else ''}), will try again",
        }[trial.state]
        table.add_row(Text(trial.trial.row), str(trial.trial.seed), trial.key, Text(state))
    console = Console()
    console.print(table)
    counts = Counter(trial.state for trial in planned.trials)
    console.print(f"{len(planned.trials)} trials, {counts['done']} done, {len(planned.to_train())} to train")
    return 0


def train(overrides: list[str]) -> int:
    """One trial in this process, recorded like any other."""
    seed = 0
    for text in overrides:
        if text.startswith("seed="):
            value = parse_override(text, "command line").value()
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(f"command line: seed is {value!r}; it must be a whole number")
            seed = value
    single = Sweep("single", "One trial by itself.", (seed,), (Row("single", {}),))
    planned = plan_sweep(single, [text for text in overrides if not text.startswith("seed=")])
    _require_means(planned)
    metric, _ = metric_names(planned.config.metric.extractor)
    jobs = register(planned)
    if not jobs:
        print(f"{planned.trials[0].key} is done already; nothing to train")
    for job in jobs:
        for at in run_trial(job):
            score = f", {metric} {at.score:.2f}" if at.score is not None else ""
            print(f"{job.key}: step {at.step}/{at.steps}, {at.seconds_per_step:.3f} s/step{score}", flush=True)
    return 0


def _say(error: str) -> int:
    """One line, whatever a file's name holds, and the exit code of what the user can mend."""
    print(f"error: {' '.join(error.splitlines())}", file=sys.stderr)
    return 2


def _require_means(planned: Plan) -> None:
    """Fail before anything is trained or recorded where the device or the metric's network cannot be had."""
    metric = planned.config.metric
    resolve_device(planned.config.compute.device)
    load_extractor(metric.extractor, metric.weights, torch.device("cpu"))


def _live_table(planned: Plan, console: Console) -> LiveTable:
    metric, _ = metric_names(planned.config.metric.extractor)
    lines = {
        trial.key: Line(trial.trial.row, trial.trial.seed, "done" if trial.state == "done" else "waiting")
        for trial in planned.trials
    }
    return LiveTable(f"{planned.sweep.name} on {planned.task}", metric, lines, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (("sweep", sweep.__doc__), ("plan", plan.__doc__)):
        command = commands.add_parser(name, help=does, description=does)
        command.add_argument("name", help="a file of sweeps/, without .yaml")
        command.add_argument("overrides", nargs="*", help="task=NAME, seeds=[0,1], model.temperature=0.1, …")
    command = commands.add_parser("train", help=train.__doc__, description=train.__doc__)
    command.add_argument("overrides", nargs="*", help="task=NAME, model=NAME, seed=0, …")
    run = "a trial's key, its run in MLflow, or a checkpoint's path"
    command = commands.add_parser("evaluate", help=evaluate.__doc__, description=evaluate.__doc__)
    command.add_argument("what", help=f"{run}; or a folder of images")
    command.add_argument("overrides", nargs="*", help="for a trial data.…, metric.…; else also task=NAME")
    command = commands.add_parser("translate", help=translate.__doc__, description=translate.__doc__)
    command.add_argument("run", help=run)
    command.add_argument("input", help="an image file or a folder of them")
    command.add_argument("output", help="a folder; for a single file also the PNG's name")
    command.add_argument("overrides", nargs="*", help="compute.device=cpu, paths.trials=…")
    command = commands.add_parser("export", help=export.__doc__, description=export.__doc__)
    command.add_argument("run", help=run)
    command.add_argument("folder", help="where the files go")
    command.add_argument("overrides", nargs="*", help="paths.trials=…")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
