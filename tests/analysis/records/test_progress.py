import io
from contextlib import redirect_stderr

import pytest

from analysis.records import progress as shown
from analysis.records.progress import progress, tracked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for variable in ("CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def read_on(terminal: Terminal) -> str:
    """Read three items with this terminal as stderr. Return what it shows then."""
    with redirect_stderr(terminal):
        assert list(tracked("abc", 3, "reading")) == ["a", "b", "c"]
    return terminal.getvalue()


def test_a_terminal_has_one_bar(terminal: Terminal) -> None:
    said = read_on(terminal)
    assert "reading" in said and "3/3" in said


def test_without_colour_a_bar_has_none(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[38;" in read_on(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    said = read_on(Terminal())
    assert "3/3" in said and "\x1b[38;" not in said


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_a_dumb_terminal_and_continuous_integration_have_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(shown, "LINE_SECONDS", 0.0)
    assert read_on(terminal) == "reading: 1 of 3\nreading: 2 of 3\nreading: 3 of 3\n"


def test_a_pipe_has_a_line_only_when_the_work_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(tracked("abc", 3, "reading"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(shown, "LINE_SECONDS", 0.0)
    with progress("horses.zip", None, in_bytes=True) as report:
        report(2_000_000, None)
        report(3_000_000, 4_000_000)
    assert capsys.readouterr().err == "horses.zip: 2.0 MB\nhorses.zip: 3.0 MB of 4.0 MB\n"
