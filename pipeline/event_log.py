"""The log file of a sweep: a line for every event."""

import logging
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log that loses lines while its disk is full. The table and the records have what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        pass


def open_log(path: Path) -> logging.Logger:
    """Return a log that appends to the file: the time and a line for each event."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = logging.Logger(path.stem)
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    return log
