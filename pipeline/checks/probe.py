"""Ask whether anything listens at an address."""

import socket

# A server answers in milliseconds. The limit allows for slow networks.
PROBE_SECONDS = 5.0


def probe(host: str, port: int) -> str:
    """Open and close a connection. Return '', or why it failed."""
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""
