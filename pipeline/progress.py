"""The live view of a sweep: a table on a terminal, a plain line now and then elsewhere."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS = 30.0


@dataclass
class Line:
    """What the view knows of one trial."""

    row: str
    seed: int
    state: str
    step: int = 0
    steps: int = 0
    seconds_per_step: float = 0.0
    score: float | None = None
    peak_live_gb: float | None = None


class LiveTable(Callback):
    """Follows Tune's trials. Lines are keyed by trial key; `metric` names the score's column."""

    def __init__(self, title: str, metric: str, lines: dict[str, Line], console: Console) -> None:
        self.title, self.metric, self.lines, self.console = title, metric, lines, console
        self.started = time.monotonic()
        self._plain_due = self.started
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2)

    def __enter__(self) -> "LiveTable":
        self.started = time.monotonic()
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that is never made here: trials resume from their own checkpoints.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._line(trial).state = "running"
        self._say(trial, "starts")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        line = self._line(trial)
        for name in ("step", "steps", "seconds_per_step", "score", "peak_live_gb"):
            setattr(line, name, result[name])
        if not self.console.is_terminal and time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + PLAIN_LINE_SECONDS
            self._print(self._summary())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._line(trial).state = "done"
        self._say(trial, "is done")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._line(trial).state = "failed"
        self._say(trial, "failed")

    def _line(self, trial: Any) -> Line:
        return self.lines[str(trial)]

    def _say(self, trial: Any, what: str) -> None:
        line = self._line(trial)
        if not self.console.is_terminal:
            score = f", {self.metric} {line.score:.2f}" if line.score is not None else ""
            self._print(f"{line.row}, seed {line.seed}: {what}{score}")

    def _print(self, text: str) -> None:
        self.console.print(
            f"[{_clock(time.monotonic() - self.started)}] {text}", markup=False, highlight=False, soft_wrap=True
        )

    def _summary(self) -> str:
        running = [line for line in self.lines.values() if line.state == "running"]
        parts = [f"{line.row}, seed {line.seed}: {line.step}/{line.steps}" for line in running]
        done = sum(line.state == "done" for line in self.lines.values())
        return f"{done} of {len(self.lines)} done; {'; '.join(parts)}; {self._remaining()}"

    def _remaining(self) -> str:
        """The time left, from the running trials' pace; each waiting trial is taken for an average one."""
        seen = [line for line in self.lines.values() if line.steps and line.seconds_per_step]
        if not seen:
            return "remaining time not known yet"
        usual_steps = sum(line.steps for line in seen) / len(seen)
        usual_pace = sum(line.seconds_per_step for line in seen) / len(seen)
        work = [
            ((line.steps or usual_steps) - line.step) * (line.seconds_per_step or usual_pace)
            for line in self.lines.values()
            if line.state in ("waiting", "running")
        ]
        return f"about {_clock(max([sum(work) / self._side_by_side(), *work], default=0.0))} left"

    def _side_by_side(self) -> int:
        return max(1, sum(line.state == "running" for line in self.lines.values()))

    def _render(self) -> Group:
        table = Table(title=self.title, title_justify="left")
        for name in ("row", "seed", "state", "step", self.metric, "s/step", "live GB"):
            table.add_column(name, justify="left" if name in ("row", "state") else "right")
        for line in self.lines.values():
            table.add_row(
                Text(line.row),
                str(line.seed),
                line.state,
                f"{line.step}/{line.steps}" if line.steps else "",
                f"{line.score:.2f}" if line.score is not None else "",
                f"{line.seconds_per_step:.3f}" if line.seconds_per_step else "",
                f"{line.peak_live_gb:.3f}" if line.peak_live_gb is not None else "",
            )
        return Group(table, Text(f"{_clock(time.monotonic() - self.started)} so far, {self._remaining()}"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
