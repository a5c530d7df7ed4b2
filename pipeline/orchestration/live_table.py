"""Show a sweep while it trains: a live table on a terminal, or else a plain line from time to time. A log file gets a
line for every event."""

import logging
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.notify.news import NOBODY, News
from pipeline.orchestration.forecast import wall_seconds
from pipeline.trial.job import Outcome, Progress

PLAIN_LINE_SECONDS = 30.0
RUNS_AGAIN = {"lost": "lost, and will run again", "memory": "out of memory, and will run again with more of it"}
# The states of trials whose ending has another name.
STATES = {"memory": "failed", "lost": "failed", "taken": "elsewhere", "requested": "stopped by request"}
# Lines of the terminal for the table's head, its foot and the prompt.
MARGIN = 9
# From this width on, in characters, a terminal has room for all columns.
WIDE = 110
LEGEND = (
    "loss D, loss G: sums of the latest mean losses. live GB: tensors at the peak of a training step. left: to the "
    "trial's end."
)


@dataclass
class Line:
    """One trial in the view. weight: its remaining work when the sweep began, in a unit that is the same for all.

    first: its first report since it last started. node: the address of the node of a cluster on which it runs.
    farthest: the most steps that were done. repeated: steps trained again after a loss.
    """

    row: str
    seed: int
    state: str
    weight: float
    tries: int = 0
    first: Progress | None = None
    progress: Progress | None = None
    reported: float = 0.0
    began: float = 0.0
    took: float = 0.0
    node: str = ""
    farthest: int = 0
    repeated: int = 0

    def whole_seconds(self) -> float | None:
        """How long the trial took or will take, from its own progress; None if that says nothing yet."""
        first, at = self.first, self.progress
        if self.took or first is None or at is None or at.step <= first.step:
            return self.took or None
        # Since the first report, so that evaluations and checkpoints count, and the trial's start counts once.
        return first.seconds + (at.seconds - first.seconds) * (at.steps - first.step) / (at.step - first.step)

    def seconds_left(self, now: float) -> float | None:
        """How long the trial will still run; None if it does not run, or is too young to say."""
        whole = self.whole_seconds()
        return None if self.state != "running" or whole is None else max(0.0, whole - (now - self.began))

    def done(self) -> float:
        """The part of the trial's remaining work, as of the start of the sweep, that is done now."""
        if self.state not in ("waiting", "running", "elsewhere"):
            return 1.0
        at = self.progress
        return (at.step - at.first_step) / max(1, at.steps - at.first_step) if at else 0.0


class LiveView:
    """Listens to the trials' events, by key. metric: the name of the score's column. slots: how many run at once.

    news: whom to tell of failures elsewhere.
    """

    def __init__(
        self,
        title: str,
        metric: str,
        lines: dict[str, Line],
        slots: int,
        console: Console,
        log: logging.Logger,
        news: News = NOBODY,
    ) -> None:
        self.title, self.metric, self.lines, self.slots = title, metric, lines, slots
        # Of a cluster.
        self.nodes = 0
        self.console, self.log, self.news = console, log, news
        self.started = time.monotonic()
        self._silent_since: float | None = None
        self._plain_due = self.started + PLAIN_LINE_SECONDS
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2)

    def __enter__(self) -> "LiveView":
        self.started = time.monotonic()
        self.log.info("%s: %s", self.title, self._counts())
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        elif kind is None:
            self.console.print(self._foot(), highlight=False, soft_wrap=True)
        self.log.info("%s: %s%s", self.title, self._counts(), f"; ended by {kind.__name__}" if kind else "")

    def say(self, text: str) -> None:
        """Show a line about the cluster."""
        self.log.info(text)
        self._print(text)

    def start(self, key: str, node: str = "") -> None:
        """A trial starts, or starts again. node: where in a cluster."""
        line = self.lines[key]
        line.node = node
        line.state, line.tries, line.began = "running", line.tries + 1, time.monotonic()
        line.first = line.progress = None
        where = f" on {node}" if node else ""
        self._say(line, f"running{where}" if line.tries == 1 else f"running{where}, try {line.tries}")

    def follow(self, key: str, progress: Progress) -> None:
        """A running trial reports its progress."""
        line = self.lines[key]
        if line.first is None:
            line.repeated += max(0, line.farthest - progress.first_step)
        line.farthest = max(line.farthest, progress.step)
        if progress.scored_now:
            self.log.info("%s, seed %d: %s", line.row, line.seed, self._position(progress))
        line.first, line.progress, line.reported = line.first or progress, progress, time.monotonic()
        self.news.store_silent(self._silent_seconds())
        if not self.console.is_terminal and time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + PLAIN_LINE_SECONDS
            parts = [
                f"{line.row}, seed {line.seed}: {self._position(line.progress)}"
                for line in self.lines.values()
                if line.state == "running" and line.progress
            ]
            self._print("; ".join([self._counts(), *parts, self._remaining_text()]))

    def end(self, key: str, outcome: Outcome, *, again: bool = False) -> None:
        """A trial has ended, or is found to run in another process. again: it will run again."""
        line = self.lines[key]
        line.state = "waiting" if again else STATES.get(outcome.ending, outcome.ending)
        line.took = time.monotonic() - line.began if line.progress and line.state in ("done", "stopped") else 0.0
        score = f", {self._position(line.progress)}" if line.progress else ""
        state = RUNS_AGAIN[outcome.ending] if again else line.state
        self._say(line, f"{state}{score}{f': {outcome.reason}' if outcome.reason else ''}")
        self.news.trial_ended(line.row, line.seed, outcome, again=again)

    def store_is_silent(self, seconds: float) -> None:
        """The tracking store has not answered this process for so long; 0: it answers again."""
        self._silent_since = time.monotonic() - seconds if seconds else None
        self.news.store_silent(self._silent_seconds())
        text = f"The tracking store {f'has not answered for {clock(seconds)}' if seconds else 'answers again'}"
        self.log.info(text)
        if not self.console.is_terminal:
            self._print(text)

    def _say(self, line: Line, text: str) -> None:
        self.log.info("%s, seed %d: %s", line.row, line.seed, text)
        if not self.console.is_terminal:
            self._print(f"{line.row}, seed {line.seed}: {text}")

    def _print(self, text: str) -> None:
        self.console.print(
            f"[{clock(time.monotonic() - self.started)}] {text}", markup=False, highlight=False, soft_wrap=True
        )

    def _position(self, progress: Progress) -> str:
        score = f", {self.metric} {progress.score:.2f}" if progress.score is not None else ""
        return f"step {progress.step}/{progress.steps}{score}"

    def _counts(self) -> str:
        counts = Counter(line.state for line in self.lines.values())
        unfinished = ("failed", "interrupted", "stopped by request", "stopped", "elsewhere")
        others = [f"{counts[state]} {state}" for state in unfinished if counts[state]]
        return ", ".join([f"{counts['done']} of {len(self.lines)} trials done", *others])

    def remaining_seconds(self) -> float | None:
        """Return the time until the last trial ends; None until some trial's pace is known."""
        paces = [whole / line.weight for line in self.lines.values() if (whole := line.whole_seconds())]
        if not paces:
            return None
        now, pace = time.monotonic(), statistics.median(paces)
        running = [
            max(0.0, (line.whole_seconds() or pace * line.weight) - (now - line.began))
            for line in self.lines.values()
            if line.state == "running"
        ]
        waiting = [pace * line.weight for line in self.lines.values() if line.state == "waiting"]
        return wall_seconds(running, waiting, self.slots)

    def _silent_seconds(self) -> float:
        """For how long the tracking store has not answered this process or a running trial; 0 if it answers."""
        now = time.monotonic()
        silent = [now - self._silent_since] if self._silent_since else []
        silent += [
            line.progress.store_silent_seconds + now - line.reported
            for line in self.lines.values()
            if line.state == "running" and line.progress and line.progress.store_silent_seconds
        ]
        return max(silent, default=0.0)

    def _remaining_text(self) -> str:
        if silent := self._silent_seconds():
            return f"the tracking store has not answered for {clock(silent)}"
        left = self.remaining_seconds()
        return "remaining time unknown" if left is None else f"about {clock(left)} left"

    def _render(self) -> Group:
        wide = self.console.width >= WIDE
        table = Table(title=Text(self.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        more = ("step", "s/step", "live GB") if wide else ()
        for name in ("row", "seed", "state", "epoch", "loss D", "loss G", self.metric, "left", *more):
            table.add_column(name, justify="left" if name in ("row", "state") else "right")
        lines = list(self.lines.values())
        # A low terminal shows running and failed trials first, ended trials last.
        order = ("running", "failed", "interrupted", "elsewhere", "waiting", "stopped by request", "stopped", "done")
        kept = sorted(lines, key=lambda line: order.index(line.state))[: max(1, self.console.height - MARGIN)]
        for line in (line for line in lines if line in kept):
            at = line.progress
            where = f" on {line.node}" if line.node and line.state == "running" else ""
            again = f"{where}, try {line.tries}" if line.tries > 1 else where
            cells = _cells(at, line.seconds_left(time.monotonic()))
            table.add_row(Text(line.row), str(line.seed), f"{line.state}{again}", *cells[: len(table.columns) - 3])
        hidden = len(lines) - len(kept)
        notes = [f"{hidden} more trials are not shown"] if hidden else []
        notes += [LEGEND] if wide else []
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=self._done(), width=40), f"{100 * self._done():.0f} %")
        return Group(table, bar, Text("\n".join([self._foot(), *notes])))

    def _done(self) -> float:
        """The part of the sweep's work that is done."""
        all_work = sum(line.weight for line in self.lines.values())
        return sum(line.weight * line.done() for line in self.lines.values()) / all_work if all_work else 1.0

    def _foot(self) -> str:
        passed = clock(time.monotonic() - self.started)
        if any(line.state in ("waiting", "running", "elsewhere") for line in self.lines.values()):
            at_once = f"{self.slots} at once{f' on {self.nodes} nodes' if self.nodes else ''}"
            return ", ".join([self._counts(), at_once, *self._pace(), f"{passed} so far", self._remaining_text()])
        if all(line.state == "done" for line in self.lines.values()):
            return f"{len(self.lines)} trial{'s' * (len(self.lines) > 1)} done in {passed}"
        return f"{self._counts()} in {passed}"

    def _pace(self) -> list[str]:
        """Return the steps a second of a cluster's trials, and how many steps were lost with processes or nodes."""
        running = [line.progress for line in self.lines.values() if line.state == "running" and line.progress]
        rate = sum(1 / at.seconds_per_step for at in running if at.seconds_per_step)
        repeated = sum(line.repeated for line in self.lines.values())
        rates = [f"{rate:.3g} steps/s"] if self.nodes and rate else []
        return [*rates, *([f"{repeated} steps trained again"] if repeated else [])]


def _cells(at: Progress | None, left: float | None) -> tuple[str, ...]:
    """Return what the table shows of a trial's progress: first what a narrow terminal has room for."""
    if at is None:
        return ("",) * 8
    losses: dict[str, float] = {}
    for name, value in at.losses.items():
        phase = name.partition("/")[0]
        losses[phase] = losses.get(phase, 0.0) + value
    return (
        f"{at.epoch}/{at.epochs}",
        *(f"{losses[phase]:.2f}" if phase in losses else "" for phase in ("discriminator", "generator")),
        "" if at.score is None else f"{at.score:.2f}",
        "" if left is None else clock(left),
        f"{at.step}/{at.steps}",
        f"{at.seconds_per_step:.3f}" if at.seconds_per_step else "",
        "" if at.peak_live_gb is None else f"{at.peak_live_gb:.3f}",
    )


def clock(seconds: float) -> str:
    """Return a time as 'minutes:seconds', or 'hours:minutes:seconds'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
