"""What asks a command to end: Ctrl-C, SIGTERM (batch systems, `kill`), and SIGHUP (a closed terminal)."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def at_first_signal(react: Callable[[], None]) -> Iterator[None]:
    """Call `react` at the first of these signals during the body; raise KeyboardInterrupt at any later one.

    What is ignored stays ignored: `nohup` ignores SIGHUP.
    """
    came = False

    def handle(*_: Any) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        react()

    before = {number: signal.getsignal(number) for number in ENDING}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def interrupt() -> None:
    """End the present command as Ctrl-C does."""
    raise KeyboardInterrupt
