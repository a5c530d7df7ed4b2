"""Try an address before a sweep relies on it: write, read and delete a small object."""

import queue
import secrets
import threading
from collections.abc import Callable

from pipeline.errors import UserError, first_line
from pipeline.storage.address import protocol_of
from pipeline.storage.faults import CHECK
from pipeline.storage.store import Store

PROBE_SECONDS = 8.0
PROBE = ".probe-"
# Each process would have a store of its own, and lose it.
WITHIN_A_PROCESS = ("memory",)


def probe(address: str) -> str:
    """Return why objects cannot be written, read and deleted below an address; '' if they can. Takes 8 s at most."""
    if protocol_of(address) in WITHIN_A_PROCESS:
        return f"{address}: is lost when a process ends. Choose another protocol"
    return _within_limit(address, _write_read_delete)


def probe_reading(address: str) -> str:
    """Return why nothing can be read below an address; '' if something can. Takes 8 s at most."""
    return _within_limit(address, _list)


def _within_limit(address: str, try_out: Callable[[str], str]) -> str:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(try_out(address))
        except UserError as error:
            answers.put(str(error))
        except Exception as error:  # a library's: no thread may end without an answer
            answers.put(f"{address}: the check failed ({type(error).__name__}: {first_line(error)})")

    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return f"{address}: the store does not answer within {PROBE_SECONDS:g} s. {CHECK}"


def _list(address: str) -> str:
    folders = Store(address, call_seconds=PROBE_SECONDS).folders()
    return "" if folders else f"{address}: there is nothing. Correct the address"


def _write_read_delete(address: str) -> str:
    name, content = f"{PROBE}{secrets.token_hex(8)}", secrets.token_bytes(32)
    store = Store(address, call_seconds=PROBE_SECONDS)
    try:
        store.write(name, content)
        read = store.read(name)
        store.delete(name)
        gone = not store.exists(name)
    except UserError as error:
        # The name of the object means nothing to the user.
        return str(error).replace(f"/{name}", "")
    return "" if read == content and gone else f"{address}: an object reads as other content. Choose another store"
