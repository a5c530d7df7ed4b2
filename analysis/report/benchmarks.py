"""Make the tables of docs/performance.md from the output of `just bench … --json`; pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.schema import RecordsError
from analysis.tables.columns import DASH

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
class Measurement:
    """The report of one benchmark (`pipeline.benchmarks.report`). Names of values end with their units."""

    part: str
    device: str
    device_type: str
    threads: int
    repeats: int
    torch: str
    date: str
    settings: Mapping[str, Any]
    notes: Sequence[str]
    rows: Sequence[Row]

    @property
    def on_gpu(self) -> bool:
        """Whether it was measured on a GPU."""
        return self.device_type == "cuda"


@dataclass(frozen=True)
class Section:
    """How a benchmark is shown. columns: titles and cells. subject: what was measured. repeats: how they are merged."""

    title: str
    columns: Callable[[Measurement], Mapping[str, Cell]]
    subject: Callable[[Mapping[str, Any]], str]
    repeats: str = ""


def read_measurement(text: str, name: str) -> Measurement:
    """Read a report. name: the file's, for errors. Raises RecordsError for anything else."""
    try:
        found = json.loads(text)
        made = Measurement(**{field: found[field] for field in Measurement.__dataclass_fields__})
        if made.part not in SECTIONS:
            raise ValueError(f"part is {made.part!r}")
        measurement_text(made)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        known = ", ".join(SECTIONS)
        raise RecordsError(
            f"{name}: {type(error).__name__} {error}. It must hold the output of just bench PART --json, with PART one "
            f"of {known}. Measure again, or remove the file."
        ) from None
    return made


def measurements_section(measured: Sequence[Measurement]) -> str:
    """Return a heading and the tables of each part, by device. A part without a measurement says so."""
    written: list[str] = []
    for part, section in SECTIONS.items():
        written.append(f"### {section.title}")
        of_part = sorted((one for one in measured if one.part == part), key=lambda one: (one.device, one.date))
        written += [measurement_text(one) for one in of_part] or ["Not measured yet."]
    return "\n\n".join(written)


def measurement_text(measured: Measurement) -> str:
    """Return a title, the table and the notes of a measurement."""
    section = SECTIONS[measured.part]
    columns = section.columns(measured)
    how = f"; {section.repeats} {measured.repeats}" if section.repeats else ""
    title = [
        f"**{measured.device}**, {measured.threads} threads, torch {measured.torch}, {measured.date}:",
        f"{section.subject(measured.settings)}{how}",
    ]
    lines = [[cell(row) for cell in columns.values()] for row in measured.rows]
    table = [_line(cells) for cells in (list(columns), ["---"] * len(columns), *lines)]
    errors = [
        f"{cells[0]}, {cells[1]}: {row['error']}"
        for cells, row in zip(lines, measured.rows, strict=True)
        if row.get("error")
    ]
    batch = _batch_notes(measured) if measured.part == "data" else []
    notes = [f"- {_escaped(note)}" for note in (*errors, *batch, *measured.notes)]
    return "\n\n".join("\n".join(block) for block in (title, table, notes) if block)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _text(name: str) -> Cell:
    return lambda row: str(row[name])


def _number(name: str, digits: int, factor: float = 1, unit: str = "") -> Cell:
    """Return a cell with a value of the row; a dash where there is none."""
    return lambda row: DASH if row[name] is None else f"{factor * row[name]:.{digits}f}{unit}"


def _or_failed(cell: Cell) -> Cell:
    return lambda row: "failed" if row["error"] else cell(row)


def _step_columns(measured: Measurement) -> Mapping[str, Cell]:
    # Seconds where a step takes at least one.
    longest = max((row["seconds_median"] or 0 for row in measured.rows), default=0)
    unit, factor = ("s", 1) if longest >= 1 else ("ms", 1000)
    first = {
        "model": _text("model"),
        "way": _text("way"),
        unit: _or_failed(_number("seconds_median", 2, factor)),
        "/ plain": _number("seconds_ratio", 2),
    }
    if measured.on_gpu:
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
    default_task = all(one.startswith(HARMLESS) for one in measured.settings["overrides"])
    whole_card = measured.device.startswith(GOAL_CARDS) and " MIG " not in measured.device
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
        if not measured.on_gpu or row["trials"] != PACK_GOAL_TRIALS or row["ratio"] is None:
            return DASH
        return _goal(f"≥ {PACK_GOAL:g}", met=row["ratio"] >= PACK_GOAL)

    return {
        "shared by": _text("sharing"),
        "trials": _text("trials"),
        "threads each": _text("threads"),
        "steps a second": _or_failed(_number("steps_per_second", 1)),
        "/ one trial": _number("ratio", 2),
        "goal": goal,
    }


def _goal(bound: str, *, met: bool) -> str:
    return f"{bound}: {'met' if met else 'missed'}"


def _batch_notes(measured: Measurement) -> list[str]:
    (batch,) = (row["seconds"] for row in measured.rows if row["work"].endswith("median"))
    shares = " and ".join(f"{100 * batch / step:.0f} % of a step of {1000 * step:g} ms" for step in BATCH_STEPS)
    return [f"A batch takes {shares}."]


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"


def _changed(settings: Mapping[str, Any]) -> str:
    changed = [f"`{override}`" for override in settings["overrides"] if not override.startswith(HARMLESS)]
    return f", with {' '.join(changed)}" if changed else ""


SECTIONS = {
    "step": Section(
        "Training step (`just bench step`)",
        _step_columns,
        lambda settings: f"{_size(settings['image_size'])}, batch {settings['batch_size']}{_changed(settings)}",
        "median of",
    ),
    "data": Section(
        "Data (`just bench data`)",
        lambda _: {"work": _text("work"), "ms": _number("seconds", 3, 1000)},
        lambda settings: f"{_size(settings['load_size'])}, cropped to {_size(settings['image_size'])}",
    ),
    "pack": Section(
        "Trials side by side (`just bench pack`)",
        _pack_columns,
        lambda settings: (
            f"{settings['method']} on {settings['task']}, {_size(settings['image_size'])}{_changed(settings)}"
        ),
        "best of",
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
        lambda settings: (
            f"{settings['translated']} translated and {settings['real']} real images of {_size(settings['image_size'])}"
        ),
        "median of",
    ),
    "sweep": Section(
        "Sweep (`just bench sweep`)",
        lambda _: {"work": _text("work"), "s": _number("seconds", 1), "s a trial": _number("seconds_per_trial", 3)},
        lambda settings: f"{settings['trials']} empty trials",
    ),
    "tables": Section(
        "Tables (`just bench tables`)",
        lambda _: {"work": _text("work"), "s": _number("seconds", 1), "process GB": _number("process_peak_gb", 2)},
        lambda settings: f"{settings['trials']} trials of {settings['metrics']} metrics",
    ),
}
