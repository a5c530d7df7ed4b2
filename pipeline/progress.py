"""The live view of a sweep: a table on a terminal, a plain line now and then elsewhere."""

import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.trial import Progress

PLAIN_LINE_SECONDS = 30.0


@dataclass
class Line:
    """What the view knows of one trial."""

    row: str
    seed: int
    state: str
    progress: Progress = field(default_factory=lambda: Progress(0, 0, 0.0, None, None))


class LiveTable:
    """Follows trials by key. `metric` names the score's column."""

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

    def change(self, key: str, state: str) -> None:
        """A trial is running, done or failed now."""
        line = self.lines[key]
        line.state = state
        if not self.console.is_terminal:
            score = f", {self.metric} {line.progress.score:.2f}" if line.progress.score is not None else ""
            self._print(f"{line.row}, seed {line.seed}: {state}{score}")

    def follow(self, key: str, progress: Progress) -> None:
        """A running trial has come further."""
        self.lines[key].progress = progress
        if not self.console.is_terminal and time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + PLAIN_LINE_SECONDS
            self._print(self._summary())

    def _print(self, text: str) -> None:
        self.console.print(
            f"[{_clock(time.monotonic() - self.started)}] {text}", markup=False, highlight=False, soft_wrap=True
        )

    def _summary(self) -> str:
        running = [line for line in self.lines.values() if line.state == "running"]
        parts = [f"{line.row}, seed {line.seed}: {line.progress.step}/{line.progress.steps}" for line in running]
        done = sum(line.state == "done" for line in self.lines.values())
        return f"{done} of {len(self.lines)} done; {'; '.join(parts)}; {self._remaining()}"

    def _remaining(self) -> str:
        """The time left, from the running trials' pace; each waiting trial is taken for an average one."""
        seen = [line for line in self.lines.values() if line.progress.steps and line.progress.seconds_per_step]
        if not seen:
            return "remaining time not known yet"
        usual_steps = sum(line.progress.steps for line in seen) / len(seen)
        usual_pace = sum(line.progress.seconds_per_step for line in seen) / len(seen)
        work = [
            ((line.progress.steps or usual_steps) - line.progress.step) * (line.progress.seconds_per_step or usual_pace)
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
                f"{line.progress.step}/{line.progress.steps}" if line.progress.steps else "",
                f"{line.progress.score:.2f}" if line.progress.score is not None else "",
                f"{line.progress.seconds_per_step:.3f}" if line.progress.seconds_per_step else "",
                f"{line.progress.peak_live_gb:.3f}" if line.progress.peak_live_gb is not None else "",
            )
        return Group(table, Text(f"{_clock(time.monotonic() - self.started)} so far, {self._remaining()}"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
