"""Use the project from Python: translate images, read results as data frames, write, plan and run sweeps.

The calls work in the folder in which Python runs, as the commands do: sweeps/, trials/, results/ and the store of
records mlflow.db, or the store that MLFLOW_TRACKING_URI names. What you can correct is raised as a `UserError` of one
line. docs/library.md is the guide. Importing this module loads neither torch nor pandas.
"""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import UserError, brief, nearest

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.inference.translator import Translator

__all__ = [
    "SweepFrames",
    "UserError",
    "load_generator",
    "plan_sweep",
    "read_comparison",
    "read_scores",
    "read_trials",
    "run_sweep",
    "write_sweep",
]

# In a notebook, a progress bar that libraries import warns that it lacks widgets.
warnings.filterwarnings("ignore", message="IProgress not found")
# The folder with this code, which a command's process must run too.
ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "pipeline")
# The exit codes of a sweep that came to its end: with all of its trials done, or not all.
ENDED = (0, 1)


class SweepFrames(NamedTuple):
    """What `run_sweep` returns: the frames of `read_trials` and `read_scores` for that sweep."""

    trials: "pd.DataFrame"
    scores: "pd.DataFrame"


def load_generator(run: str | Path, *, device: str = "auto", overrides: Sequence[str] = ()) -> "Translator":
    """Load a trained generator in evaluation mode. Its `translate` does what `just translate` does.

    Args:
        run: A trial's key or its beginning, the id of an MLflow run, the path of a checkpoint, or of a generator of the
            reference code.
        device: 'cpu', 'cuda', or 'auto', which is CUDA where it is available.
        overrides: Where trials and records are: 'paths.trials=…', 'tracking.uri=…'.

    Raises:
        UserError: if there is no such checkpoint, more than one, or one that cannot be used.
    """
    from pipeline.config.compose import compose_surroundings, refuse_other_parts
    from pipeline.hardware.device import resolve_device
    from pipeline.inference.find import STORE_PARTS, find_checkpoint
    from pipeline.inference.load import load_trained
    from pipeline.inference.translator import Translator

    refuse_other_parts(overrides, STORE_PARTS)
    chosen = resolve_device(compose_surroundings([f"compute.device={device}"]).compute.device)
    trained = load_trained(find_checkpoint(str(run), list(overrides)))
    network = trained.generator.to(chosen).eval().requires_grad_(False)
    return Translator(network, chosen, trained.file, trained.config)


def read_trials(sweep: str | None = None, task: str | None = None, *, store: str | None = None) -> "pd.DataFrame":
    """Return a line for each trial of a sweep, or of all sweeps, from the records in MLflow.

    Columns:
        sweep, task, row, seed: Which trial it is. A trial that several sweeps share has a line in each.
        baseline: Whether its row is the one with which the others are compared.
        key, run_id: Of the trial and of its MLflow run. The folder of the trial is trials/KEY.
        status: FINISHED, FAILED, RUNNING, SCHEDULED, KILLED (stopped by a search), or MISSING (not started).
        step: The steps that are done.
        model.…, data.… and other settings: All fields of the model, and each field that a row sets.
        last/…, best/…, source/…, cost/…: What finished trials ended with (nan for other trials): the scores of the last
            evaluation, those of the evaluation with the lowest distance, those of the untranslated images, and costs.
            Names end in their unit, such as _gb and _seconds.
        not_finite, error, stopped, collapsed, commit, …: What the run's tags say of the trial, '' for nothing.

    Args:
        sweep: The name of a sweep, or its file; None for all sweeps.
        task: The name of the data; None for all tasks.
        store: The address of the MLflow store; None for MLFLOW_TRACKING_URI, or without it mlflow.db here.

    Raises UserError if the store has no such sweep, or cannot be read.

    >>> read_trials("mini")[["row", "seed", "status"]]
       row  seed    status
    0  CUT     0  FINISHED
    """
    with _plain_errors():
        from analysis.store.frames import trials_frame

        return trials_frame(store, sweep, task)


def read_scores(sweep: str | None = None, task: str | None = None, *, store: str | None = None) -> "pd.DataFrame":
    """Return a line for each evaluation of each trial of a sweep, or of all sweeps, from the records in MLflow.

    Columns: sweep, task, row, seed, step, epoch (nan while the trial is not finished), and one for each score, such as
    fid, kid or background_change (nan where it was not asked for). Arguments and errors are those of `read_trials`.

    >>> list(read_scores("mini")["epoch"])
    [1.0]
    """
    with _plain_errors():
        from analysis.store.frames import scores_frame

        return scores_frame(store, sweep, task)


def read_comparison(
    sweep: str, task: str | None = None, *, metric: str | None = None, store: str | None = None
) -> "pd.DataFrame":
    """Return a line for each row of a recorded sweep: its mean over seeds, and its difference to the baseline.

    Columns: row, baseline, n (finished seeds that have not collapsed), mean, sd (the sample standard deviation), pairs
    (seeds that both rows have), difference (the mean over pairs), low and high (its 95 % t-interval), p (of the paired
    t-test, with Holm's correction for the number of rows), told_apart (whether the table stars the row). What is not
    known is nan: one seed has no sd and no interval, and the baseline no difference.

    Args:
        sweep: The name of the sweep, or its file.
        task: The name of the data; needed if the sweep is recorded on several.
        metric: A column of `read_trials`, such as 'last/kid' or 'cost/seconds_per_iteration'; None for the distance by
            which rows are compared, such as 'last/fid'.
        store: As in `read_trials`.

    Raises:
        UserError: if the store has no such sweep or metric, or cannot be read.

    >>> read_comparison("mini", metric="cost/training_peak_live_gb")[["row", "baseline", "n", "pairs"]]
       row  baseline  n  pairs
    0  CUT      True  1      0
    """
    with _plain_errors():
        from analysis.records.names import last_metric
        from analysis.statistics.comparisons import comparison_frame
        from analysis.statistics.estimates import main_score, values_of
        from analysis.store.frames import read_records

        records = read_records(store, sweep, task)
    if len(records) > 1:
        tasks = ", ".join(record.task for record in records)
        raise UserError(f"{sweep}: recorded for several tasks ({tasks}). Choose one: task=…")
    values = values_of(records[0])
    chosen = metric or last_metric(main_score(values) or "")
    if metric is None and chosen not in values:
        raise UserError(f"{sweep}: no finished trial has a distance yet. Give a metric")
    if chosen not in values:
        raise UserError(
            f"{sweep}: no finished trial has the metric {brief(chosen)}; {nearest(chosen, map(str, values))}"
        )
    return comparison_frame(records[0], values, chosen)


def write_sweep(
    name: str,
    question: str,
    rows: Mapping[str, Mapping[str, object]],
    *,
    seeds: Sequence[int],
    base: Sequence[str] = (),
    default: str = "",
    folder: str | Path = "sweeps",
) -> Path:
    """Write a sweep file, and return its path. `plan_sweep`, `run_sweep` and all commands take it like any other.

    Args:
        name: The name of the sweep and of its file.
        question: What the sweep asks, in one sentence.
        rows: The settings of each row, by the row's name: {"τ = 0.07": {"model.temperature": 0.07}}.
        seeds: Each row is trained once with each of them.
        base: Overrides for all rows: ["model=cut", "data.size=64"].
        default: The row with which the others are compared; '' for the first.
        folder: Where to write NAME.yaml. An earlier file of this call is replaced, any other file is not.

    Raises:
        UserError: for what a sweep file cannot hold. The settings of the rows are checked by `plan_sweep`.

    >>> print(write_sweep("two", "Does τ matter?", {"a": {}, "b": {"model.temperature": 0.2}}, seeds=[0]))
    sweeps/two.yaml
    """
    from pipeline.config.sweep_writer import write_sweep_file

    content: dict[str, object] = {"question": question, "base": base, "seeds": seeds}
    content["rows"] = [{"row": row, "set": settings} for row, settings in rows.items()]
    return write_sweep_file(Path(folder), name, content | ({"default": default} if default else {}))


def plan_sweep(sweep: str | Path, overrides: Sequence[str] = ()) -> "pd.DataFrame":
    """Return a line for each trial of a sweep, with what it needs and what is done already. Trains nothing.

    Columns: row, seed, key ('' if the data is not here yet), state (new, interrupted, training, failed, stopped, done),
    step (steps that are done), error, cpus, gpus and side_by_side (its share of the machine, and how many trials run at
    once), memory_gb and live_gb (predicted, of its process and of its live tensors; 10^9 bytes), operations (of a
    training step), seconds_left (0 if it will not be trained), memory_source and seconds_source (where the predictions
    come from), and reference_… (the same for a step of the reference code). Arguments and errors are those of
    `run_sweep`.
    """
    import pandas as pd

    _checked(sweep, overrides)
    command = [*COMMAND, "plan", "--json", str(sweep), *overrides]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise _fault("plan", done.returncode, done.stderr.splitlines())
    return pd.DataFrame(json.loads(done.stdout)["trials"])


def run_sweep(sweep: str | Path, overrides: Sequence[str] = (), *, quiet: bool = False) -> SweepFrames:
    """Train what is not trained yet, write the report, and return the trials and the scores.

    `just sweep` runs in a process of its own, so this works in notebooks, scripts and threads. What the command prints
    is printed here. Ctrl-C lets the running trials save, and the same call resumes them. A failed trial raises nothing:
    see the column status.

    Args:
        sweep: The name of a sweep in sweeps/, or the path of its file.
        overrides: As on the command line: ['seeds=[0,1]', 'retry=failed', 'compute.device=cpu'].
        quiet: Print only the path of the report, and what failed.

    Raises:
        UserError: for a faulty file, setting or machine, as the command says it.
    """
    name, task, store = _checked(sweep, overrides)
    faults: list[str] = []
    # In a process group of its own: else it may get Ctrl-C twice, of which the second ends it at once.
    with subprocess.Popen(
        [*COMMAND, "sweep", *(["--quiet"] if quiet else []), str(sweep), *overrides],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    ) as process:
        interrupted = False
        while process.returncode is None:
            try:
                for line in process.stdout or ():
                    faults.append(line) if line.startswith("error: ") else print(line, end="", flush=True)
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode not in ENDED:
        raise _fault("sweep", process.returncode, faults)
    return SweepFrames(read_trials(name, task, store=store), read_scores(name, task, store=store))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise what the readers of records say as a UserError."""
    from analysis.records.schema import RecordsError  # pandas

    try:
        yield
    except RecordsError as error:
        raise UserError(str(error)) from None


def _checked(sweep: str | Path, overrides: Sequence[str]) -> tuple[str, str, str]:
    """Return the sweep's name, its task and its store. Raises UserError for a faulty file or setting."""
    from pipeline.config.compose import tracking_uri
    from pipeline.config.sweep_file import expand, load_sweep, retries_failed, with_seeds

    given, others = with_seeds(load_sweep(str(sweep)), retries_failed(overrides)[1])
    config = expand(given, others)[0].config
    return given.name, config.data.name, tracking_uri(config)


def _environment() -> dict[str, str]:
    """Return the environment of a command: with this code, and without a notebook's way to draw figures."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths)}


def _fault(command: str, code: int, lines: Sequence[str]) -> UserError:
    """Return the error of a command that failed, in its own words if it has said any."""
    said = [line.removeprefix("error: ").strip() for line in lines if line.startswith("error: ")]
    return UserError(said[-1] if said else f"The {command} ended with exit code {code}. Call it again to resume")
