"""Outages of the MLflow store: a server that is away, a database that another process keeps locked, a full disk."""

import re
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import UserError, first_line

Answer = TypeVar("Answer")

ASK_AGAIN_SECONDS = 5.0
# The store has answered, and would answer the same again.
_REFUSALS = (
    *("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE"),
    # A machine without the login, or with a wrong one, would ask for an hour.
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
)


def is_outage(error: Exception) -> bool:
    """Return whether the same call may succeed later: the store did not answer, or could not write."""
    # Those of MLflow, which takes seconds to import, have a code.
    if code := getattr(error, "error_code", None):
        return code not in _REFUSALS
    # Of requests, of file systems, and of a database that is read without MLflow.
    return isinstance(error, OSError | sqlite3.OperationalError)


def ask_through_outage(ask: Callable[[], Answer], most_seconds: float, silent: Callable[[float], None]) -> Answer:
    """Return what `ask` returns. In an outage, ask again for at most so many seconds, then raise the last error.

    silent: called after each try that fails with the seconds since the first one, and with 0 once there is an answer.
    """
    began, failed = time.monotonic(), False
    while True:
        try:
            answer = ask()
        except Exception as error:
            seconds, failed = time.monotonic() - began, True
            if not is_outage(error) or seconds >= most_seconds:
                raise
            silent(seconds)
        else:
            if failed:
                silent(0.0)
            return answer
        time.sleep(ASK_AGAIN_SECONDS)


def store_error(uri: str, error: Exception) -> UserError:
    """Return what is said of a store that has raised this error."""
    # What the database says stands in the middle of SQLAlchemy's text: '(sqlite3.OperationalError) database is locked'.
    of_database = re.search(r"\(\w+\.\w*Error\) ([^\n]+)", str(error))
    why = of_database[1] if of_database else first_line(error)
    return UserError(f"tracking.uri={uri}: the MLflow store does not answer ({why})")
