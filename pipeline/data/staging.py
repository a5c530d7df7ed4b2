"""Data sets at an address: a decoded one is put there once, and fetched once by each node; images are mirrored.

A decoded data set is a folder of arrays. Its manifest, which is put last, has the size and the SHA-256 of each.
"""

import json
import sys
from pathlib import Path

from analysis.records.printable import printable
from pipeline.cache import DamagedEntryError, cached, content_key
from pipeline.data.image_io import SUFFIXES
from pipeline.data.in_threads import in_threads
from pipeline.errors import UserError
from pipeline.files import file_digest, remove, replacing
from pipeline.locks import file_lock
from pipeline.storage.address import joined
from pipeline.storage.faults import StoreError
from pipeline.storage.store import Store

MANIFEST = "manifest.json"
# A node waits so long for a store that is away.
PATIENCE_SECONDS = 600.0
TRIES = 3
SPLITS = ("trainA", "trainB", "testA", "testB")
# In the mirror of a folder of images: what the address said of each.
INDEX = "index.json"


def put_entry(entry: Path, address: str) -> None:
    """Put a decoded data set to an address, unless it is there with the same sizes."""
    store = Store(address, patience=PATIENCE_SECONDS)
    files = {file.name: file for file in sorted(entry.iterdir())}
    found = store.objects()
    sizes = {name: file.stat().st_size for name, file in files.items()}
    if MANIFEST in found and sizes == {name: known.size for name, known in found.items() if name != MANIFEST}:
        return
    print(f"Putting the data set ({sum(sizes.values()) / 1e6:.0f} MB) to {address}, once.", file=sys.stderr)
    for name, file in files.items():
        store.put(file, name)
    digests = {name: [sizes[name], file_digest(file)] for name, file in files.items()}
    store.write_sealed(MANIFEST, json.dumps(digests).encode())


def fetch_entry(address: str, entry: Path) -> None:
    """Fetch a decoded data set into this node's cache, unless it is there. Several processes fetch it once.

    Raises StoreError if the store is away for 10 minutes, or if a file is damaged each time that it is fetched.
    """

    def make(folder: Path) -> None:
        store = Store(address, patience=PATIENCE_SECONDS)
        manifest: dict[str, tuple[int, str]] = json.loads(store.read_sealed(MANIFEST))
        folder.mkdir()
        for name, (size, digest) in manifest.items():
            _fetch_verified(store, name, folder / name, size, digest)

    def read(folder: Path) -> None:
        if not any(folder.glob("*.npy")):
            raise DamagedEntryError("the data set has no arrays")

    cached(entry, make, read)


def _fetch_verified(store: Store, name: str, target: Path, size: int, digest: str) -> None:
    for _ in range(TRIES):
        store.fetch(name, target, size)
        if file_digest(target) == digest:
            return
        print(f"{joined(store.address, name)}: its checksum differs. Fetching it again.", file=sys.stderr)
    advice = "Delete its folder there. The next sweep puts the data set again"
    raise StoreError(joined(store.address, name), "other", f"it was damaged {TRIES} times (checksum differs)", advice)


def mirror_images(root: str, cache: Path) -> Path:
    """Copy the images below an address into the cache. Return the folder.

    Only new and changed images are copied: those whose name, size or version differs from the last time.
    Raises UserError if a split has no images, and StoreError if the store does not answer.
    """
    folder, store = cache / "sources" / content_key(root), Store(root)
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.with_suffix(".lock")):
        objects = store.objects()
        found = {name: [stored.size, stored.version] for name, stored in objects.items() if _is_of_a_split(name)}
        for split in SPLITS:
            if not any(name.startswith(f"{split}/") for name in found):
                needed = f"It must contain {', '.join(SPLITS)}"
                raise UserError(f"data.root={root}: there are no images in {split}/. {needed}")
        index = _index(folder / INDEX)
        new = [name for name, version in found.items() if index.get(name) != version or not (folder / name).is_file()]
        for name in index.keys() - found.keys():
            remove(folder / name)

        def fetch(name: str) -> None:
            store.fetch(name, folder / name, objects[name].size)

        for _ in in_threads(fetch, new, f"copying {printable(root)}"):
            pass
        with replacing(folder / INDEX) as partial:
            partial.write_text(json.dumps(found), encoding="utf-8")
    return folder


def _is_of_a_split(name: str) -> bool:
    split, _, file = name.partition("/")
    return split in SPLITS and "/" not in file and Path(file).suffix.lower() in SUFFIXES


def _index(file: Path) -> dict[str, list[object]]:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
