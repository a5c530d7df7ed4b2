"""What the project's folders hold, by kind, and what each kind takes on disk. Only reads."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from analysis.records.names import SINGLE
from analysis.store.database import database_file, is_missing
from analysis.store.overview import TrialUse, read_trial_uses, recorded_sweeps
from pipeline.config.places import RESULTS, TRIALS, results_folder, trials_folder
from pipeline.config.schema import PathsConfig
from pipeline.config.trial_key import RESULT_VERSION

TRIAL = r"[0-9a-f]{16}"
# What lies beside the trials' folders, and beside the parts of the cache, and is not asked about.
OWN_FILES = (".locks", "store.lock", "store.lease", TRIALS, RESULTS)
LOCKS = (".lock", ".lease")
# The folders of the cache: the name of a kind, and what it is.
CACHES: Mapping[str, tuple[str, str]] = {
    "data": ("data-cache", "decoded and drawn images"),
    "features": ("feature-cache", "features of test images"),
    "costs": ("cost-cache", "counted costs of steps"),
    "rates": ("cost-cache", "measured rates of this machine"),
    "compiled": ("compile-cache", "compiled networks"),
    "inductor": ("compile-cache", "compiled networks"),
    "cuda": ("compile-cache", "compiled networks"),
    "matplotlib": ("font-cache", "the list of fonts"),
    "torch": ("downloads", "downloaded weights and code"),
    "sources": ("data-cache", "copies of images at an address"),
    "fetched": ("data-cache", "copies of checkpoints at an address"),
}
# Sweeps remove the folders of sweeps that have ended.
TUNE = "ray"
# A kind that stands for several: all that this machine can make again without the network.
GROUPS = {"caches": ("data-cache", "feature-cache", "cost-cache", "compile-cache", "font-cache")}


@dataclass(frozen=True)
class Part:
    """What is of one kind.

    name: what `just clean` removes it by, '' if it never does. sweeps: for how many of these trials a sweep, as it was
    last run, would miss the checkpoint.
    """

    name: str
    kind: Literal["trials", "cache", "logs", "results", "kept"]
    content: str
    paths: tuple[Path, ...]
    note: str = ""
    sweeps: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def count(self) -> int:
        """How many trials, entries of the cache, files or folders."""
        return sum(len(entries(path)) if self.kind == "cache" else 1 for path in self.paths)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(map(size_on_disk, self.paths))


def find_parts(paths: PathsConfig, uri: str) -> list[Part]:
    """Return all parts, in the order in which a table shows them. Links are no part of the project."""
    others: list[Path] = []
    database = database_file(uri)
    found = [*_trials(trials_folder(paths), uri, others), *_caches(Path(paths.cache), others)]
    found += [*_logs(Path(paths.logs), others), *_results(results_folder(paths), uri, others)]
    records = [path for path in (database, *([] if database is None else [Path("mlartifacts")])) if path]
    found.append(Part("", "kept", "records in MLflow", tuple(path for path in records if path.exists()), "kept"))
    found.append(Part("", "kept", "other files in these folders", tuple(others), _named(others)))
    return [part for part in found if part.paths]


def entries(folder: Path) -> list[Path]:
    """Return what a folder of the cache holds, without locks, which stay: a process may wait for one."""
    return [path for path in sorted(folder.iterdir()) if path.suffix not in LOCKS]


def size_on_disk(path: Path) -> int:
    """Return the bytes that a file or a folder takes. Links are not followed, and what vanishes meanwhile is 0."""
    try:
        size = 512 * path.lstat().st_blocks
        inside = list(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
    except OSError:
        return 0
    return size + sum(map(size_on_disk, inside))


def _trials(folder: Path, uri: str, others: list[Path]) -> Iterator[Part]:
    uses = read_trial_uses(uri)
    grouped: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in _own(folder, lambda path: bool(re.fullmatch(TRIAL, path.name)) and path.is_dir(), others):
        grouped[_kind_of(uses.get(path.name))].append(path)
    for (name, content), paths in sorted(grouped.items(), key=lambda entry: not entry[0][0].startswith("sweep:")):
        known = [uses[path.name] for path in paths if path.name in uses]
        unfinished = sum(not use.finished for use in known)
        former = sorted({sweep for use in known for sweep in use.ever - use.now} - {SINGLE})
        notes = [f"{unfinished} not finished"] if unfinished else []
        notes += [f"once in {', '.join(former)}"] if name == "unused-trials" and former else []
        sweeps = Counter(sweep for use in known for sweep in sorted(use.now - {SINGLE}))
        yield Part(name, "trials", content, tuple(paths), "; ".join(notes), sweeps)


def _kind_of(use: TrialUse | None) -> tuple[str, str]:
    """Return the name and the content of the part that a trial belongs to."""
    if use is None:
        return "unrecorded-trials", "trials without a record in this store"
    if use.result_version.isdecimal() and int(use.result_version) < RESULT_VERSION:
        return "old-trials", f"trials of result versions before {RESULT_VERSION}"
    if sweeps := sorted(use.now - {SINGLE}):
        return " ".join(f"sweep:{sweep}" for sweep in sweeps), f"trials of {' and '.join(sweeps)}"
    if SINGLE in use.ever:
        return "single-trials", "trials of just train"
    return "unused-trials", "trials that no sweep has any more"


def _caches(folder: Path, others: list[Path]) -> Iterator[Part]:
    grouped: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in _own(folder, lambda path: path.name in (*CACHES, TUNE) and path.is_dir(), others):
        if path.name != TUNE and entries(path):
            grouped[CACHES[path.name]].append(path)
    for (name, content), paths in grouped.items():
        how = "downloaded" if name == "downloads" else "made"
        yield Part(name, "cache", content, tuple(paths), f"{how} again when needed")


def _logs(folder: Path, others: list[Path]) -> Iterator[Part]:
    found = _own(folder, lambda path: path.suffix == ".log" and path.is_file(), others)
    yield Part("logs", "logs", "logs of sweeps", tuple(found))


def _results(folder: Path, uri: str, others: list[Path]) -> Iterator[Part]:
    recorded = [] if is_missing(uri) else recorded_sweeps(uri)
    sweeps = {sweep for sweep, _ in recorded}
    found = [
        task
        for path in _own(folder, lambda path: path.name in sweeps and path.is_dir(), others)
        for task in _own(path, lambda task, sweep=path.name: (sweep, task.name) in recorded and task.is_dir(), others)
    ]
    yield Part("results", "results", "reports of recorded sweeps", tuple(found), "written again by just tables NAME")


def _own(folder: Path, is_own: Callable[[Path], bool], others: list[Path]) -> list[Path]:
    """Return what is of the project in a folder. Add the rest to `others`."""
    own: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if is_own(path) and not path.is_symlink():
            own.append(path)
        elif path.name not in OWN_FILES:
            others.append(path)
    return own


def _named(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:3]))
    return f"left alone: {shown}{' …' if len(paths) > 3 else ''}" if paths else ""
