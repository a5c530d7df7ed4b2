"""What Ctrl-C, SIGTERM and SIGHUP do to the body of `at_first_signal`. The test sends real signals to itself."""

import signal
from collections.abc import Iterator

import pytest

from pipeline.signals import at_first_signal, interrupt

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handlers of the test, so that a signal that is not heeded ends no test run."""
    before = {number: signal.signal(number, lambda *_: pytest.fail("not heeded")) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", ENDING)
@pytest.mark.parametrize("later", ENDING)
def test_the_first_signal_is_reacted_to_and_any_later_one_interrupts(first: signal.Signals, later: int) -> None:
    reactions: list[str] = []
    with pytest.raises(KeyboardInterrupt), at_first_signal(lambda: reactions.append("saves")):
        signal.raise_signal(first)
        assert reactions == ["saves"]
        signal.raise_signal(later)
    assert reactions == ["saves"]


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reactions: list[str] = []
    with at_first_signal(lambda: reactions.append("saves")):
        signal.raise_signal(signal.SIGHUP)
        assert reactions == []
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("fails", [False, True])
def test_after_the_body_signals_do_what_they_did_before(fails: bool) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    try:
        with at_first_signal(lambda: None):
            assert not set(before) & {signal.getsignal(number) for number in ENDING}
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert [signal.getsignal(number) for number in ENDING] == before


def test_a_command_is_interrupted_as_by_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), at_first_signal(interrupt):
        signal.raise_signal(signal.SIGTERM)
