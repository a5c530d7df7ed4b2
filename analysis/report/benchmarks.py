"""Make the tables of docs/performance.md from the output of `just bench … --json`; pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.schema import RecordsError
from analysis.tables.columns import DASH

# The report of one benchmark (`pipeline.benchmarks.report`), and one of its rows. Names of values end with their units.
Measurement = Mapping[str, Any]
Row = Mapping[str, Any]
Cell = Callable[[Row], str]

# Goals of a training step on one H100 or H200, in bf16 with CUDA graphs at 256 x 256: seconds by model, and the ratio
# to the plain step of the same run.
STEP_GOALS = {"cut": 0.008, "fastcut": 0.0045, "cyclegan": 0.014}
PLAIN_GOAL = 0.25
GOAL_CARDS = ("NVIDIA H100", "NVIDIA H200")
# Overrides with these prefixes do not change the default task.
HARMLESS = ("model=", "task=horse2zebra", "compute.")
# Goals of four trials on one card, compared with one, and of an evaluation, compared with its bare extractor.
PACK_GOAL, PACK_GOAL_TRIALS = 1.8, 4
FID_GOAL = 1.1
# The lengths of a step (s) that the time of a batch is compared with: the goals of FastCUT and CycleGAN.
BATCH_STEPS = (0.0045, 0.014)


@dataclass(frozen=True)
class Section:
    """How a benchmark is shown.

    columns: titles and cells. subject: what was measured; settings are filled in. repeats: how they are merged.
    """

    title: str
    columns: Callable[[Measurement], Mapping[str, Cell]]
    subject: str
    repeats: str = ""


def read_measurement(text: str, name: str) -> Measurement:
    """Read a report. name: the file's, for errors. Raises RecordsError for anything else."""
    try:
        found = json.loads(text)
        if found["part"] not in SECTIONS:
            raise ValueError(f"part is {found['part']!r}")
        measurement_text(found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        known = ", ".join(SECTIONS)
        raise RecordsError(
            f"{name}: {type(error).__name__} {error}. It must hold the output of just bench PART --json, with PART one "
            f"of {known}. Measure again, or remove the file."
        ) from None
    return found


def measurements_section(measured: Sequence[Measurement]) -> str:
    """Return a heading and the tables of each part, by device. A part without a measurement says so."""
    written: list[str] = []
    for part, section in SECTIONS.items():
        written.append(f"### {section.title}")
        of_part = [one for one in measured if one["part"] == part]
        in_order = sorted(of_part, key=lambda one: (one["device"], one["date"]))
        written += [measurement_text(one) for one in in_order] or ["Not measured yet."]
    return "\n\n".join(written)


def measurement_text(measured: Measurement) -> str:
    """Return a title, the table and the notes of a measurement."""
    section, rows, settings = SECTIONS[measured["part"]], measured["rows"], measured["settings"]
    columns = section.columns(measured)
    changed = [f"`{override}`" for override in settings.get("overrides", []) if not override.startswith(HARMLESS)]
    sizes = {name: "{} x {}".format(*settings[name]) for name in ("image_size", "load_size") if name in settings}
    shown = {**settings, **sizes, "changed": f", with {' '.join(changed)}" if changed else ""}
    how = f"; {section.repeats} {measured['repeats']}" if section.repeats else ""
    title = [
        "**{device}**, {threads} threads, torch {torch}, {date}:".format(**measured),
        f"{section.subject.format(**shown)}{how}",
    ]
    lines = [[cell(row) for cell in columns.values()] for row in rows]
    table = [_line(cells) for cells in (list(columns), ["---"] * len(columns), *lines)]
    notes = [
        f"{cells[0]}, {cells[1]}: {row['error']}" for cells, row in zip(lines, rows, strict=True) if row.get("error")
    ]
    if measured["part"] == "data":
        (batch,) = (row["seconds"] for row in rows if row["work"].endswith("median"))
        shares = (f"{100 * batch / step:.0f} % of a step of {1000 * step:g} ms" for step in BATCH_STEPS)
        notes.append(f"A batch takes {' and '.join(shares)}.")
    listed = [f"- {_escaped(note)}" for note in (*notes, *measured["notes"])]
    return "\n\n".join("\n".join(block) for block in (title, table, listed) if block)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _text(name: str) -> Cell:
    return lambda row: str(row[name])


def _number(name: str, digits: int, factor: float = 1, unit: str = "", missing: str = DASH) -> Cell:
    """Return a cell with a value of the row, or with `missing` where there is none."""
    return lambda row: missing if row[name] is None else f"{factor * row[name]:.{digits}f}{unit}"


def _step_columns(measured: Measurement) -> Mapping[str, Cell]:
    # Seconds where a step takes at least one.
    longest = max((row["seconds_median"] or 0 for row in measured["rows"]), default=0)
    unit, factor = ("s", 1) if longest >= 1 else ("ms", 1000)
    first = {
        "model": _text("model"),
        "way": _text("way"),
        unit: _number("seconds_median", 2, factor, missing="failed"),
        "/ plain": _number("seconds_ratio", 2),
    }
    if measured["device_type"] == "cuda":
        return first | {
            "goal": lambda row: _step_goal(measured, row),
            "peak GB": _peaks,
            "host / step": _number("host_ratio", 2),
            "of peak FLOP/s": _number("utilisation", 0, 100, " %"),
        }
    return first | {
        "10^12 operations": _number("operations", 3, 1e-12),
        "live GB": _number("live_gb", 3),
        "live / plain": _number("live_ratio", 2),
        "process GB": _number("process_peak_gb", 2),
    }


def _peaks(row: Row) -> str:
    peaks = row["peak_allocated_gb"], row["peak_reserved_gb"]
    return DASH if None in peaks else f"{peaks[0]:.2f} / {peaks[1]:.2f}"


def _step_goal(measured: Measurement, row: Row) -> str:
    """Return a step's goals and whether they are met; a dash where none is set."""
    execution = row.get("execution") or {}
    default_task = all(one.startswith(HARMLESS) for one in measured["settings"]["overrides"])
    whole_card = measured["device"].startswith(GOAL_CARDS) and " MIG " not in measured["device"]
    has_goal = whole_card and default_task and row["model"] in STEP_GOALS
    if not (has_goal and execution.get("precision") == "bf16" and execution.get("cuda_graphs")):
        return DASH
    seconds: float = STEP_GOALS[row["model"]]
    parts = [_goal(f"≤ {1000 * seconds:g} ms", met=row["seconds_median"] <= seconds)]
    if row["seconds_ratio"] is not None:
        parts.append(_goal(f"≤ {PLAIN_GOAL:g}", met=row["seconds_ratio"] <= PLAIN_GOAL))
    return ", ".join(parts)


def _pack_columns(measured: Measurement) -> Mapping[str, Cell]:
    def goal(row: Row) -> str:
        if measured["device_type"] != "cuda" or row["trials"] != PACK_GOAL_TRIALS or row["ratio"] is None:
            return DASH
        return _goal(f"≥ {PACK_GOAL:g}", met=row["ratio"] >= PACK_GOAL)

    return {
        "shared by": _text("sharing"),
        "trials": _text("trials"),
        "threads each": _text("threads"),
        "steps a second": _number("steps_per_second", 1, missing="failed"),
        "/ one trial": _number("ratio", 2),
        "goal": goal,
    }


def _goal(bound: str, *, met: bool) -> str:
    return f"{bound}: {'met' if met else 'missed'}"


SECTIONS = {
    "start": Section(
        "Commands (`just bench start`)",
        lambda _: {
            "with": _text("work"),
            "command": lambda row: f"`{row['command']}`",
            "first line, s": _number("seconds_first", 2),
            "end, s": _number("seconds", 2),
            "of it imports, s": _number("seconds_imports", 2),
        },
        "`smoke`, in a folder of its own",
        "median of",
    ),
    "step": Section(
        "Training step (`just bench step`)", _step_columns, "{image_size}, batch {batch_size}{changed}", "median of"
    ),
    "data": Section(
        "Data (`just bench data`)",
        lambda _: {"work": _text("work"), "ms": _number("seconds", 3, 1000)},
        "{load_size}, cropped to {image_size}",
    ),
    "pack": Section(
        "Trials side by side (`just bench pack`)", _pack_columns, "{method} on {task}, {image_size}{changed}", "best of"
    ),
    "fid": Section(
        "Evaluation (`just bench fid`)",
        lambda _: {
            "evaluation": _text("evaluation"),
            "s": _number("seconds", 2),
            "the extractor alone, s": _number("extractor_seconds", 2),
            "ratio": _number("ratio", 2),
            "goal": lambda row: _goal(f"≤ {FID_GOAL:g}", met=row["ratio"] <= FID_GOAL),
        },
        "{translated} translated and {real} real images of {image_size}",
        "median of",
    ),
    "sweep": Section(
        "Sweep (`just bench sweep`)",
        lambda _: {
            "work": _text("work"),
            "s": _number("seconds", 1),
            "s a trial": _number("seconds_per_trial", 3),
            "driver's CPU s": _number("cpu_seconds", 1),
            "driver GB": _number("resident_gb", 2),
            "calls of the store": _text("calls"),
        },
        "{trials} empty trials",
    ),
    "scale": Section(
        "Many GPUs, simulated (`just bench scale`)",
        lambda _: {
            "h a trial": _text("hours"),
            "GPUs": _text("gpus"),
            "h": lambda row: f"{row['seconds'] / 3600:.2f}",
            "idle": _number("idle", 1, 100, " %"),
            "calls a second": _number("calls_a_second", 1),
            "driver busy": _number("driver_busy", 0, 100, " %"),
            "store asked": _number("store_asked", 0, 100, " %"),
        },
        "four trials a GPU; driver {driver_seconds:.3f} s a trial, start {start_seconds:.1f} s, {store} "
        "{call_seconds:.3f} s a call, {calls_a_second:g} calls a second and trial",
    ),
    "tables": Section(
        "Tables (`just bench tables`)",
        lambda _: {"work": _text("work"), "s": _number("seconds", 1), "process GB": _number("process_peak_gb", 2)},
        "{trials} trials of {metrics} metrics",
    ),
}
