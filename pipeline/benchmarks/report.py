"""What every bench says: one shape of JSON for all parts."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True)
class Report:
    """One bench on one device.

    part: the bench's name. device_type: cpu or cuda. threads: of the CPU. settings: what was measured (sizes, counts,
    overrides). rows: one mapping a measurement, with units in the names and None for what does not apply. notes: what
    was left out, and why.
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
