"""The result of a benchmark: one JSON format for all parts, and a table for the terminal."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Column, Table

Cells = Sequence[str]

# Columns of a table that goes into a file or a pipe.
WIDTH = 180


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True)
class Report:
    """Result of one benchmark on one device.

    part: the name of the benchmark. device_type: cpu or cuda. threads: CPU threads. settings: what was measured (sizes,
    counts, overrides). rows: one mapping per measurement. Names of values end with their units. None: does not apply.
    notes: what was left out, and why.
    """

    part: str
    device: str
    device_type: str
    threads: int
    repeats: int
    rows: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: Sequence[str] = ()
    torch: str = field(default_factory=lambda: version("torch"))
    python: str = field(default_factory=platform.python_version)
    date: str = field(default_factory=_today)

    def to_json(self) -> str:
        """Return the report as JSON text, which `analysis.report.benchmarks` reads."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def print_table(title: str, text_columns: Sequence[str], number_columns: Sequence[str], rows: Sequence[Cells]) -> None:
    """Print a table. The cells of number_columns are aligned to the right."""
    columns = [*text_columns, *(Column(name, justify="right") for name in number_columns)]
    table = Table(*columns, title=title, title_justify="left")
    for cells in rows:
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
