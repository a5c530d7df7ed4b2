"""What `just bench … --json` gave, as the tables of docs/performance.md; pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.schema import RecordsError

Row = Mapping[str, Any]
Cells = list[str]

DASH = "–"
# What one H100 or H200 is to reach in bf16 with CUDA graphs at 256 x 256: seconds of a step by model, and the part of
# the plain step's time in the same run.
STEP_GOALS = {"cut": 0.008, "fastcut": 0.0045, "cyclegan": 0.014}
PLAIN_GOAL = 0.25
GOAL_CARDS = ("NVIDIA H100", "NVIDIA H200")
# What leaves the default task as it is.
HARMLESS = ("model=", "task=horse2zebra", "compute.")
# Four trials on one card over one, and an evaluation over its bare extractor.
PACK_GOAL, PACK_GOAL_TRIALS = 1.8, 4
FID_GOAL = 1.1
# The lengths of a step (s) that a batch is held against: FastCUT's and CycleGAN's goals.
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


def read_measurement(text: str, name: str) -> Measurement:
    """Read a report. name: the file's, for errors. Raises RecordsError for what is no such report."""
    try:
        found = json.loads(text)
        made = Measurement(**{field: found[field] for field in Measurement.__dataclass_fields__})
        if made.part not in SECTIONS:
            raise ValueError(f"part is {made.part!r}")
        _table_of(made)
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
        written += [_table_of(one) for one in of_part] or ["Not measured yet."]
    return "\n\n".join(written)


def step_goal(measured: Measurement, row: Row) -> str:
    """Return a step's goals and whether they are met; '' where none is set."""
    execution = row.get("execution") or {}
    default_task = all(one.startswith(HARMLESS) for one in measured.settings["overrides"])
    whole_card = measured.device.startswith(GOAL_CARDS) and " MIG " not in measured.device
    apt = whole_card and default_task and row["model"] in STEP_GOALS
    if not (apt and execution.get("precision") == "bf16" and execution.get("cuda_graphs")):
        return ""
    seconds: float = STEP_GOALS[row["model"]]
    parts = [_goal(f"{1000 * seconds:g} ms", met=row["seconds_median"] <= seconds)]
    if row["seconds_ratio"] is not None:
        parts.append(_goal(f"{PLAIN_GOAL:g}", met=row["seconds_ratio"] <= PLAIN_GOAL))
    return ", ".join(parts)


def pack_goal(measured: Measurement, row: Row) -> str:
    """Return the goal of trials side by side on one GPU and whether it is met; '' where none is set."""
    if not measured.on_gpu or row["trials"] != PACK_GOAL_TRIALS or row["ratio"] is None:
        return ""
    return _goal(f"{PACK_GOAL:g}", met=row["ratio"] >= PACK_GOAL, least=True)


def fid_goal(row: Row) -> str:
    """Return the goal of an evaluation over its bare extractor, and whether it is met."""
    return _goal(f"{FID_GOAL:g}", met=row["ratio"] <= FID_GOAL)


def _goal(bound: str, *, met: bool, least: bool = False) -> str:
    return f"{'≥' if least else '≤'} {bound}: {'met' if met else 'missed'}"


def _step_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    rows, gpu = measured.rows, measured.on_gpu
    factor, unit, digits = _unit([row["seconds_median"] for row in rows])
    of_device = ["peak GB", "host / step", "of peak FLOP/s"] if gpu else ["live GB", "live / plain", "process GB"]
    columns = ["model", "way", unit, "/ plain", "goal" if gpu else "10^12 operations", *of_device]
    lines: list[Cells] = []
    for row in rows:
        cells = [row["model"], row["way"], "failed" if row["error"] else _shown(row["seconds_median"], digits, factor)]
        cells.append(_shown(row["seconds_ratio"], 2))
        if gpu:
            cells += [step_goal(measured, row) or DASH, _both(row["peak_allocated_gb"], row["peak_reserved_gb"])]
            cells += [_shown(row["host_ratio"], 2), _shown(row["utilisation"], 0, 100, " %")]
        else:
            cells += [_shown(row["operations"], 3, 1e-12), _shown(row["live_gb"], 3), _shown(row["live_ratio"], 2)]
            cells.append(_shown(row["process_peak_gb"], 2))
        lines.append(cells)
    return columns, lines


def _step_notes(measured: Measurement) -> list[str]:
    return [f"{row['model']}, {row['way']} failed: {row['error']}" for row in measured.rows if row["error"]]


def _data_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    lines = [[row["work"], _shown(row["seconds"], 3, 1000)] for row in measured.rows]
    return ["work", "ms"], lines


def _data_notes(measured: Measurement) -> list[str]:
    (batch,) = (row["seconds"] for row in measured.rows if row["work"].endswith("median"))
    shares = " and ".join(f"{100 * batch / step:.0f} % of a step of {1000 * step:g} ms" for step in BATCH_STEPS)
    return [f"A batch takes {shares}."]


def _pack_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    columns = ["shared by", "trials", "threads each", "steps a second", "/ one trial", "goal"]
    lines = [
        [
            row["sharing"],
            str(row["trials"]),
            str(row["threads"]),
            "failed" if row["error"] else _shown(row["steps_per_second"], 1),
            _shown(row["ratio"], 2),
            pack_goal(measured, row) or DASH,
        ]
        for row in measured.rows
    ]
    return columns, lines


def _pack_notes(measured: Measurement) -> list[str]:
    return [f"{row['sharing']}, {row['trials']} trials failed: {row['error']}" for row in measured.rows if row["error"]]


def _fid_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    columns = ["evaluation", "s", "the extractor alone, s", "ratio", "goal"]
    lines = [
        [
            row["evaluation"],
            _shown(row["seconds"], 2),
            _shown(row["extractor_seconds"], 2),
            _shown(row["ratio"], 2),
            fid_goal(row),
        ]
        for row in measured.rows
    ]
    return columns, lines


def _sweep_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    lines = [[row["work"], _shown(row["seconds"], 1), _shown(row["seconds_per_trial"], 3)] for row in measured.rows]
    return ["work", "s", "s a trial"], lines


def _tables_table(measured: Measurement) -> tuple[Cells, list[Cells]]:
    lines = [[row["work"], _shown(row["seconds"], 1), _shown(row["process_peak_gb"], 2)] for row in measured.rows]
    return ["work", "s", "process GB"], lines


def _no_notes(measured: Measurement) -> list[str]:
    return []


def _step_subject(settings: Mapping[str, Any]) -> str:
    return f"{_size(settings['image_size'])}, batch {settings['batch_size']}{_changed(settings)}"


def _pack_subject(settings: Mapping[str, Any]) -> str:
    return f"{settings['method']} on {settings['task']}, {_size(settings['image_size'])}{_changed(settings)}"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"


def _changed(settings: Mapping[str, Any]) -> str:
    changed = [f"`{override}`" for override in settings["overrides"] if not override.startswith(HARMLESS)]
    return f", with {' '.join(changed)}" if changed else ""


@dataclass(frozen=True)
class Section:
    """How one part is shown: its heading, its table, what was measured, what was made of the repeats, and notes."""

    title: str
    table: Callable[[Measurement], tuple[Cells, list[Cells]]]
    subject: Callable[[Mapping[str, Any]], str]
    repeats: str = ""
    notes: Callable[[Measurement], list[str]] = _no_notes


SECTIONS = {
    "step": Section("Training step (`just bench step`)", _step_table, _step_subject, "median of", _step_notes),
    "data": Section(
        "Data (`just bench data`)",
        _data_table,
        lambda settings: f"{_size(settings['load_size'])}, cropped to {_size(settings['image_size'])}",
        notes=_data_notes,
    ),
    "pack": Section("Trials side by side (`just bench pack`)", _pack_table, _pack_subject, "best of", _pack_notes),
    "fid": Section(
        "Evaluation (`just bench fid`)",
        _fid_table,
        lambda settings: (
            f"{settings['translated']} translated and {settings['real']} real images of {_size(settings['image_size'])}"
        ),
        "median of",
    ),
    "sweep": Section("Sweep (`just bench sweep`)", _sweep_table, lambda settings: f"{settings['trials']} empty trials"),
    "tables": Section(
        "Tables (`just bench tables`)",
        _tables_table,
        lambda settings: f"{settings['trials']} trials of {settings['metrics']} metrics",
    ),
}


def _table_of(measured: Measurement) -> str:
    section = SECTIONS[measured.part]
    columns, lines = section.table(measured)
    how = f"; {section.repeats} {measured.repeats}" if section.repeats else ""
    title = [
        f"**{measured.device}**, {measured.threads} threads, torch {measured.torch}, {measured.date}:",
        f"{section.subject(measured.settings)}{how}",
    ]
    table = [_line(cells) for cells in (columns, ["---"] * len(columns), *lines)]
    notes = [f"- {_escaped(note)}" for note in (*section.notes(measured), *measured.notes)]
    return "\n\n".join("\n".join(block) for block in (title, table, notes) if block)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _unit(seconds: Sequence[float | None]) -> tuple[float, str, int]:
    """Milliseconds where every step is shorter than a second."""
    longest = max((one for one in seconds if one is not None), default=0.0)
    return (1, "s", 2) if longest >= 1 else (1000, "ms", 2)


def _both(one: float | None, other: float | None) -> str:
    return DASH if one is None or other is None else f"{one:.2f} / {other:.2f}"


def _shown(value: float | None, digits: int, factor: float = 1, unit: str = "") -> str:
    return DASH if value is None else f"{factor * value:.{digits}f}{unit}"
