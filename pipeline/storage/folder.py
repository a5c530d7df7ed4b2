"""Folders at an address: results, put as a whole after they were written here; and all of a folder deleted."""

from pathlib import Path

from pipeline.storage.address import joined
from pipeline.storage.store import Store

# Of a sweep's results: the digest of each of its files. Of all sweeps: the page that lists them.
STATE_FILE, OVERVIEW = "written.json", "index.html"


def put_results(results: Path, address: str, sweep: str, task: str) -> None:
    """Put a sweep's results, which were written into a folder, to an address, and the overview of all sweeps there.

    The state of the results is put last. If the address has the same state, nothing is put.
    """
    folder, store = results / sweep / task, Store(joined(address, sweep, task))
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    found = store.objects()
    state = (folder / STATE_FILE).read_bytes() if STATE_FILE in files else b""
    if STATE_FILE in found and found.keys() == files.keys() and store.read(STATE_FILE) == state:
        return
    for name in sorted(files, key=lambda name: name == STATE_FILE):
        store.put(files[name], name)
    for name in found.keys() - files.keys():
        store.delete(name)
    Store(address).put(results / OVERVIEW, OVERVIEW)


def delete_all(address: str) -> None:
    """Delete all objects below an address."""
    store = Store(address)
    for name in store.objects():
        store.delete(name)
