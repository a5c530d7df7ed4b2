"""What asks a command to end: Ctrl-C, SIGTERM (batch systems, `kill`), and SIGHUP (a closed terminal)."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# The exit code of an interrupted command, as shells have it.
INTERRUPTED = 130
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


@contextmanager
def ending_signals_ignored() -> Iterator[None]:
    """Ignore these signals during the body, in the main thread. Processes that start in it ignore them always."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def never() -> bool:
    """Nothing asks the command to end."""
    return False


def interrupt() -> None:
    """End the present command as Ctrl-C does."""
    raise KeyboardInterrupt


def interrupt_at_once(text: str) -> NoReturn:
    """Print a line and end the process, from within a signal's handler."""
    os.write(2, f"{text}\n".encode())  # print() could be the call that the signal has interrupted
    os._exit(INTERRUPTED)


def is_importing() -> bool:
    """Return whether the main thread is within an import. Called from a signal's handler, which runs there."""
    frame = sys._getframe()
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
