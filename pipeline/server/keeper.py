"""Run a server in this process group, and end the whole group once the command that started it is gone.

A command that is killed by SIGKILL can end nothing itself. But the system closes its end of this process's stdin.
It runs as a file, without the packages of the project: python -P keeper.py SECONDS COMMAND …
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress


def keep(seconds_to_end: float, command: Sequence[str]) -> int:
    """Return the server's exit code if it ends by itself. End all processes of this group if stdin is closed."""
    # It goes to the whole group. The server would inherit that a signal is ignored, but not a handler.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_the_command() -> None:
        sys.stdin.buffer.read()
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(seconds_to_end)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end_with_the_command, daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    ended = keep(float(sys.argv[1]), sys.argv[2:])
    # Workers outlive a server that was killed.
    os.killpg(0, signal.SIGTERM)
    sys.stdout.flush()
    os._exit(ended % 256)
