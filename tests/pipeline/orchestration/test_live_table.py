"""The view's arithmetic: how long a list of trials takes, and how soon the view knows."""

import io
import logging
import random
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipeline.event_log import open_log
from pipeline.orchestration import live_table as module
from pipeline.orchestration.forecast import wall_seconds
from pipeline.orchestration.live_table import Line, LiveView
from pipeline.trial.job import Outcome, Progress


def test_trials_take_the_next_free_slot_in_order() -> None:
    assert wall_seconds([], [5, 5, 5], 2) == 10
    assert wall_seconds([3.0, 1.0], [4, 1], 2) == 5
    assert wall_seconds([7.0], [], 2) == 7
    assert wall_seconds([], [], 2) == 0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def at(step: int, steps: int, seconds: float, first: int = 0) -> Progress:
    return Progress(step, steps, first, 0.1, seconds, step, 5.0, scored_now=True, peak_live_gb=0.1)


def view_of(lines: dict[str, Line], slots: int, console: Console | None = None) -> LiveView:
    console = console or Console(file=io.StringIO(), width=100)
    return LiveView("mine on stripes", "fid", lines, slots, console, logging.Logger("quiet"))


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("trials", [4, 9, 24])
def test_after_a_quarter_of_the_time_the_rest_is_known_within_a_quarter(
    monkeypatch: pytest.MonkeyPatch, slots: int, trials: int
) -> None:
    """Simulated trials of unequal work, whose pace strays by a tenth, and whose evaluations interrupt the steps."""
    clock, rng = Clock(), random.Random(f"{slots}/{trials}")
    monkeypatch.setattr(module, "time", clock)
    weights = [rng.choice([1.0, 1.3, 2.0]) for _ in range(trials)]
    took = [60 * weight * rng.uniform(0.9, 1.1) for weight in weights]
    lines = {str(number): Line(f"row {number}", 0, "waiting", weight) for number, weight in enumerate(weights)}
    total = wall_seconds([], took, slots)
    view = view_of(lines, slots)
    begun: dict[int, float] = {}
    while clock.now - 1000 < total / 4:
        running = [number for number in begun if view.lines[str(number)].state == "running"]
        for number in running:
            since = clock.now - begun[number]
            steps = int(100 * since / took[number])
            if steps >= 100:
                view.end(str(number), Outcome("done"))
            elif steps:
                view.follow(str(number), at(steps, 100, since))
        running = [number for number in begun if view.lines[str(number)].state == "running"]
        for number in range(len(begun), min(trials, len(begun) + slots - len(running))):
            view.start(str(number))
            begun[number] = clock.now
        clock.now += 1
    left = view.remaining_seconds()
    assert left is not None
    assert left == pytest.approx(total - (clock.now - 1000), rel=0.25)


def test_a_resumed_trial_is_judged_by_what_it_has_done_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    view = view_of({"a": Line("a", 0, "waiting", 1.0)}, 1)
    view.start("a")
    clock.now += 1
    view.follow("a", at(51, 100, seconds=1, first=50))
    clock.now += 9
    view.follow("a", at(60, 100, seconds=10, first=50))
    assert view.remaining_seconds() == pytest.approx(40)


def test_the_start_of_a_trial_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 s until the first step is done, then a second a step."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    view = view_of({"a": Line("a", 0, "waiting", 1.0)}, 1)
    view.start("a")
    clock.now += 20
    view.follow("a", at(1, 100, seconds=20))
    assert view.remaining_seconds() is None
    clock.now += 5
    view.follow("a", at(6, 100, seconds=25))
    assert view.remaining_seconds() == pytest.approx(94)


def test_nothing_is_promised_before_anything_is_known() -> None:
    assert view_of({"a": Line("a", 0, "waiting", 1.0)}, 1).remaining_seconds() is None


def test_the_log_has_a_line_for_everything(tmp_path: Path) -> None:
    log = open_log(tmp_path / "logs/mine.log")
    lines = {name: Line(f"row {name}", seed, "waiting", 1.0) for seed, name in enumerate("abc")}
    with LiveView("mine", "fid", lines, 2, Console(quiet=True), log) as view:
        view.start("a")
        view.follow("a", at(10, 20, 1.0))
        view.end("a", Outcome("memory", "out of it"))
        view.start("a")
        view.end("a", Outcome("done"))
        view.end("b", Outcome("stopped"))
        view.end("c", Outcome("requested", "Not started."))
    said = (tmp_path / "logs/mine.log").read_text()
    for line in (
        "mine: 0 of 3 trials done",
        "row a, seed 0: running",
        "row a, seed 0: step 10/20, fid 5.00",
        "row a, seed 0: failed, step 10/20, fid 5.00: out of it",
        "row a, seed 0: running, try 2",
        "row a, seed 0: done",
        "row b, seed 1: stopped",
        "row c, seed 2: stopped by request: Not started.",
        "mine: 1 of 3 trials done, 1 stopped by request, 1 stopped",
    ):
        assert line in said


def test_a_terminal_that_is_too_low_shows_what_matters_most() -> None:
    lines = {str(number): Line(f"row {number}", 0, "done", 1.0) for number in range(50)}
    lines["40"].state, lines["41"].state = "running", "failed"
    screen = io.StringIO()
    console = Console(file=screen, width=100, height=20, force_terminal=True)
    console.print(view_of(lines, 2, console)._render())
    said = screen.getvalue()
    assert "row 40" in said and "row 41" in said
    assert "39 more trials are not shown" in said


def test_a_quiet_view_prints_nothing() -> None:
    screen = io.StringIO()
    with view_of({"a": Line("a", 0, "waiting", 1.0)}, 1, Console(file=screen, quiet=True)) as view:
        view.start("a")
        view.end("a", Outcome("done"))
    assert screen.getvalue() == ""


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_of_any_width_shows_how_far_each_trial_is(width: int) -> None:
    lines = {str(seed): Line("internal and external", seed, "waiting", 1.0) for seed in range(3)}
    screen = io.StringIO()
    view = view_of(lines, 2, Console(file=screen, width=width, height=40, force_terminal=True, no_color=True))
    view.start("0")
    losses = {"discriminator/real": 0.25, "discriminator/fake": 0.5, "generator/nce": 3.0}
    view.follow("0", Progress(1, 128, 0, 0.1, 0.1, 0, None, False, None))
    view.follow("0", Progress(64, 128, 0, 0.1, 6.4, 2, 12.5, True, 0.018, epochs=4, losses=losses))
    view.end("1", Outcome("requested", "Not started."))
    view.console.print(view._render())
    said = screen.getvalue()
    assert all(cell_len(Text.from_ansi(line).plain.rstrip()) <= width for line in said.splitlines())
    if width >= 80:
        assert [
            text for text in ("2/4", "0.75", "3.00", "12.50", "0:13", "50 %", "stopped by") if text not in said
        ] == []
    assert ("live GB" in said) == ("64/128" in said) == (width == 160)
