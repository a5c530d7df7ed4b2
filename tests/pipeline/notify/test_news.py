"""What is told elsewhere, to real servers on loopback: whole, away, silent and refusing."""

import importlib.machinery
import importlib.util
import io
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hook_server import hook_server
from rich.console import Console
from servers import silence

from pipeline.__main__ import main as pipeline
from pipeline.command_line import hide_password
from pipeline.environment import environment
from pipeline.errors import UserError
from pipeline.notify import address as module
from pipeline.notify import news as news_module
from pipeline.notify import webhook
from pipeline.notify.address import notify_channel, open_channel
from pipeline.notify.channel import Channel
from pipeline.notify.news import MOST_FAILURES, News
from pipeline.orchestration.live_table import Line, LiveView
from pipeline.trial.job import Outcome, Progress

SECRET = "T0kenInAnAddress"
FAILED = Outcome("failed", "ValueError: no")


def news_to(address: str) -> News:
    return News(open_channel(address), "mini", "stripes")


def channels(port: int) -> list[Channel]:
    pytest.importorskip("apprise")
    return [open_channel(f"{scheme}://127.0.0.1:{port}/{SECRET}") for scheme in ("http", "json")]


def test_a_webhook_gets_every_field_of_a_failure_and_of_the_end() -> None:
    with hook_server() as hook:
        news = news_to(f"http://me:{SECRET}@127.0.0.1:{hook.port}/services/{SECRET}")
        news.trial_ended("CUT", 1, FAILED, again=False)
        news.ended("The sweep has ended: 1 failed.", {"done": 0, "failed": 1, "trials": 1})
        assert news.close() == ""
    failed, ended = hook.got
    host, start = socket.gethostname(), f"mini on stripes ({socket.gethostname()}): "
    known = {"sweep": "mini", "task": "stripes", "host": host}
    text = f"{start}CUT, seed 1 has failed: ValueError: no"
    row = {"row": "CUT", "seed": 1, "reason": "ValueError: no"}
    assert failed == {"event": "failed", "text": text, "content": text, **known, **row}
    assert ended["text"] == f"{start}The sweep has ended: 1 failed. It took 0:00:00."
    counts = {"done": 0, "failed": 1, "trials": 1, "seconds": 0}
    assert ended == {"event": "ended", "text": ended["text"], "content": ended["text"], **known, **counts}
    assert hook.paths == [f"/services/{SECRET}"] * 2 and all(hook.logins)


def test_apprise_gets_the_same_text() -> None:
    pytest.importorskip("apprise")
    with hook_server() as hook:
        news = news_to(f"json://127.0.0.1:{hook.port}")
        news.trial_ended("CUT", 1, FAILED, again=False)
        assert news.close() == ""
    (got,) = hook.got
    assert got["title"] == f"mini on stripes ({socket.gethostname()})"
    assert got["message"] == "CUT, seed 1 has failed: ValueError: no"


@pytest.mark.parametrize(
    ("outcome", "again", "event"),
    [
        (Outcome("done"), False, None),
        (Outcome("stopped"), False, None),
        (Outcome("taken"), False, None),
        (Outcome("interrupted", "saved"), False, None),
        (Outcome("requested", "saved"), False, None),
        (Outcome("memory", "full"), True, None),
        (Outcome("memory", "full"), False, "failed"),
        (Outcome("lost", "It made no progress"), True, "lost"),
        (Outcome("lost", "It made no progress"), False, "failed"),
        (FAILED, False, "failed"),
    ],
)
def test_failures_and_losses_are_told_and_nothing_else(outcome: Outcome, again: bool, event: str | None) -> None:
    with hook_server() as hook:
        news = news_to(f"http://127.0.0.1:{hook.port}")
        view = LiveView(
            "mini", "fid", {"key": Line("CUT", 0, "running", 1.0)}, 1, Console(quiet=True), logging.Logger("q"), news
        )
        view.end("key", outcome, again=again)
        assert news.close() == ""
    assert [message["event"] for message in hook.got] == ([event] if event else [])
    assert all(message["reason"] == outcome.reason for message in hook.got)


def test_a_silent_store_is_told_once_and_that_it_answers_again() -> None:
    def progress(silent: float) -> Progress:
        return Progress(1, 9, 0, 0.1, 1.0, 0, None, False, None, store_silent_seconds=silent)

    with hook_server() as hook:
        news = news_to(f"http://127.0.0.1:{hook.port}")
        console = Console(file=io.StringIO())
        view = LiveView("mini", "fid", {"key": Line("CUT", 0, "running", 1.0)}, 1, console, logging.Logger("q"), news)
        view.start("key")
        for silent in (5.0, 59.0, 61.0, 90.0, 0.0, 5.0, 0.0):
            view.follow("key", progress(silent))
        for silent in (20.0, 75.0, 0.0):
            view.store_is_silent(silent)
        assert news.close() == ""
    assert [message["event"] for message in hook.got] == ["store_silent", "store_answers"] * 2


def test_many_failures_are_told_up_to_a_number() -> None:
    with hook_server() as hook:
        news = news_to(f"http://127.0.0.1:{hook.port}")
        for seed in range(MOST_FAILURES + 5):
            news.trial_ended("CUT", seed, FAILED, again=False)
        assert news.close() == ""
    assert [message["seed"] for message in hook.got] == list(range(MOST_FAILURES))
    assert hook.got[-1]["text"].endswith("Further failures are told at the end.")


def undelivered(channel: Channel) -> str:
    news = News(channel, "mini", "stripes")
    news.trial_ended("CUT", 0, Outcome("failed", f"no, with http://me:{SECRET}@host"), again=False)
    news.ended("The sweep has ended.", {})
    return news.close()


def test_a_server_that_is_away_is_named_in_one_line_without_its_token(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [undelivered(channel) for channel in channels(port)]
    assert said == [
        f"2 of 2 messages could not be delivered to http://127.0.0.1:{port} (not reached, ConnectionError).",
        "2 of 2 messages could not be delivered to json://… (Apprise could not deliver it).",
    ]
    assert "".join(capfd.readouterr()) == "" and SECRET not in caplog.text


def test_a_server_that_answers_500_has_not_taken_the_message() -> None:
    with hook_server(500) as hook:
        said = [undelivered(channel) for channel in channels(hook.port)]
    assert "(answered with status 500)" in said[0] and "could not deliver" in said[1]
    # No password in the text of an error goes out.
    assert len(hook.got) >= 4 and SECRET not in str(hook.got)


def test_a_redirect_is_not_followed() -> None:
    with hook_server() as other, hook_server(302, Location=f"http://127.0.0.1:{other.port}/") as hook:
        assert "(answered with status 302)" in undelivered(channels(hook.port)[0])
    assert other.got == []


def test_a_server_that_hangs_holds_nobody_for_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "MOST_SECONDS", 0.1)
    monkeypatch.setattr(news_module, "SECONDS_AT_END", 0.3)
    with silence() as port:
        web, apprise = channels(port)
        assert undelivered(web).endswith("(no answer within 0.1 s).")
        # Apprise waits for longer.
        assert undelivered(apprise).endswith("(no answer within 0.3 s).")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "notify is no address"),
        (SECRET, "notify is no address"),
        ("https://", "notify=https://… has no host"),
        (f"https://:{SECRET}", "notify=https://… has no host, or a wrong port"),
        (f"http://host:{SECRET}/", "notify=http://… has no host, or a wrong port"),
        (f"https://host/{SECRET} b", "notify=https://… contains a space"),
        (f"nonsense://{SECRET}", "notify=nonsense://… is no address that Apprise can read"),
        (f"tgram://{SECRET}", "notify=tgram://… is no address that Apprise can read"),
    ],
)
@pytest.mark.parametrize("as_variable", [False, True])
def test_a_faulty_address_is_refused_before_anything_trains_and_is_not_quoted(
    project: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    said: str,
    as_variable: bool,
) -> None:
    if as_variable and address:  # an empty variable is none
        monkeypatch.setenv("CUT_ABLATION_NOTIFY", address)
    assert pipeline(["plan", "smoke", *([] if as_variable and address else [f"notify={address}"])]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line and SECRET not in line


def test_apprise_is_asked_for_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> importlib.machinery.ModuleSpec | None:
        return None if name == "apprise" else importlib.util.find_spec(name)

    monkeypatch.setattr(module, "find_spec", find)
    with pytest.raises(UserError, match=r"notify=mailto://… needs Apprise.*pip install apprise") as refused:
        open_channel(f"mailto://me:{SECRET}@host")
    assert SECRET not in str(refused.value)
    assert open_channel("https://host/path").shown == "https://host"


@pytest.mark.parametrize("arguments", [["train"], ["status", "smoke"], ["sweep"], ["drop", "smoke", "CUT"]])
def test_a_command_that_tells_nobody_refuses_an_address_and_does_not_quote_it(
    project: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert pipeline([*arguments, f"notify=https://host/{SECRET}?a=b"]) == 2
    printed = "".join(capfd.readouterr())
    assert "notify" in printed and SECRET not in printed
    assert "CUT_ABLATION_NOTIFY" not in os.environ


@pytest.mark.parametrize("address", ["https://h/a?b=c,d", "https://[::1]:80/x", "'https://h/(x)'"])
def test_any_address_passes_the_command_line_whole(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    opened: list[str] = []
    keep: Callable[[str], None] = opened.append
    monkeypatch.setattr(module, "open_channel", keep)
    arguments, variables = hide_password(["sweep", "smoke", "task=stripes", f"notify={address}"])
    with environment(variables):
        assert notify_channel(arguments[2:])[1] == ["task=stripes"]
    assert opened == [address.strip("'")] and "h/" not in " ".join(arguments)
