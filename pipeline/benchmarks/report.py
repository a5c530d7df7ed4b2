"""The report of a benchmark: one JSON format for all parts, shown on the terminal as in docs/performance.md."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown

from analysis.report.benchmarks import measurement_text, read_measurement
from pipeline.hardware.device import device_name

# Columns of a table that goes into a file or a pipe.
WIDTH = 180
CPU = torch.device("cpu")

Report = Mapping[str, Any]


def make_report(
    part: str,
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    device: torch.device = CPU,
    threads: int | None = None,
    repeats: int = 1,
    notes: Sequence[str] = (),
) -> Report:
    """Return the result of one benchmark on one device.

    rows: one mapping per measurement. Names of values end with their units; None: does not apply. settings: what was
    measured (sizes, counts, overrides). threads: CPU threads, torch's if not given. notes: what was left out, and why.
    """
    return {
        "part": part,
        "device": device_name(device),
        "device_type": device.type,
        "threads": threads or torch.get_num_threads(),
        "repeats": repeats,
        "rows": rows,
        "settings": settings,
        "notes": notes,
        "torch": version("torch"),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def print_report(report: Report, *, as_json: bool) -> None:
    """Print the report as JSON, which `just docs` reads, or as the table that `just docs` makes of it."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if as_json:
        print(text)
    else:
        shown = Markdown(measurement_text(read_measurement(text, report["part"])))
        Console(width=None if sys.stdout.isatty() else WIDTH).print(shown)
