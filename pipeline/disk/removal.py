"""Remove parts of the project's folders, but nothing that a process uses now."""

import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from filelock import Timeout

from pipeline.config.places import stored_trial, trials_folder
from pipeline.config.schema import PathsConfig
from pipeline.disk.usage import Part, entries, size_on_disk
from pipeline.files import remove_leftovers
from pipeline.locks import file_lock
from pipeline.orchestration.leftovers import running_sweeps
from pipeline.storage.store import Store
from pipeline.tracking.journal import JOURNAL
from pipeline.trial.lock import TakenError, claimed, is_claimed

LAST = "last.pt"
# Folders whose entries have a lock each (`pipeline.cache`).
WITH_ENTRIES = ("data", "features", "costs", "rates")
# Of another process, or left by one that was killed.
PARTIAL = re.compile(r"\.(.+?)\.(?:\w+-\d+-\d+-)?[0-9a-f]{8}\.partial")


def remove_part(part: Part, paths: PathsConfig, uri: str) -> tuple[int, list[str]]:
    """Remove what is of a part and not in use. Return the freed bytes, and why what is left was left."""
    freed, left = 0, []
    busy = "" if part.kind == "trials" else _busy(paths, uri)
    for path in part.paths:
        before = size_on_disk(path)
        if part.kind == "trials":
            left += _remove_trial(path, stored_trial(paths, path.name), uri)
        elif busy:
            left.append(f"{path}: in use, since {busy}")
        elif part.kind == "cache":
            left += _empty_cache(path)
        else:
            _remove(path)
        freed += before - size_on_disk(path)
    return freed, left


def _busy(paths: PathsConfig, uri: str) -> str:
    """Return which sweep or trial runs in these folders; '' if none does."""
    if sweeps := running_sweeps(Path(paths.cache)):
        return f"a sweep runs ({sweeps[0]})"
    trials = trials_folder(paths)
    locks = trials / ".locks"
    running = [lock.stem for lock in sorted(locks.glob("*")) if is_claimed(trials / lock.stem, uri)]
    return f"trial {running[0]} is running" if running else ""


def _remove_trial(folder: Path, stored: str, uri: str) -> list[str]:
    """Remove a trial's folder. stored: the address that keeps a copy, which stays; '' for none."""
    try:
        with claimed(folder, uri):
            if stored and not _is_stored(folder / LAST, stored):
                return [f"{folder}: its last checkpoint is not at {stored} yet. The sweep puts it there"]
            if (folder / JOURNAL).exists():
                return [f"{folder}: holds records that MLflow has not got yet. They are sent by just tables NAME"]
            _remove(folder)
    except TakenError as error:
        return [str(error)]
    return []


def _is_stored(last: Path, stored: str) -> bool:
    from pipeline.training.checkpoint import checksum_of  # torch, which only trials at an address need

    store, own = Store(stored), checksum_of(last) if last.is_file() else b""
    return not own or (store.exists(LAST) and store.end_of(LAST, len(own)) == own)


def _empty_cache(folder: Path) -> list[str]:
    """Remove the entries of a folder of the cache."""
    left: list[str] = []
    mapped = _mapped_files(folder)
    for entry in entries(folder):
        partial = PARTIAL.fullmatch(entry.name)
        target = folder / partial[1] if partial else entry
        try:
            with _locked(target):
                if partial:
                    remove_leftovers(target)
                elif any(file.is_relative_to(entry.resolve()) for file in mapped):
                    left.append(f"{entry}: a process reads it now")
                else:
                    _remove(entry)
        except Timeout:
            left.append(f"{entry}: another process makes it now")
    return left


def _locked(entry: Path) -> AbstractContextManager[object]:
    """Hold the lock of an entry of the cache, if it has one. Raises Timeout if another process holds it."""
    if entry.parent.name in WITH_ENTRIES:
        return file_lock(entry.with_suffix(".lock")).acquire(timeout=0)
    # Of compiled networks: see `use_compile_cache`.
    shared = entry.parent / "compiling.lock"
    return file_lock(shared).acquire(timeout=0) if shared.exists() else nullcontext()


def _mapped_files(folder: Path) -> set[Path]:
    """Return the files of a folder that processes of this user have mapped, as trials have the images."""
    found: set[Path] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # of another user, or gone
            found |= set(_files_of(maps))
    return {file for file in found if file.is_relative_to(folder.resolve())}


def _files_of(maps: Path) -> Iterator[Path]:
    for line in maps.read_text(errors="surrogateescape").splitlines():
        if "/" in line:
            yield Path(line[line.index("/") :])


def _remove(path: Path) -> None:
    """Remove a file or a folder. A link is removed, and not what it names. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
