"""Checks of this machine before a sweep: folders, disk, locks, cores, compiler. Each gives one line."""

import os
import platform
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock

from models.build import build_objective
from pipeline.config.schema import Config, FolderConfig, PathsConfig
from pipeline.errors import first_line
from pipeline.hardware.cgroup import cpu_limit, own_groups
from pipeline.hardware.device import main_memory_bytes
from pipeline.rng import rng_for

Status = Literal["ok", "note", "fault"]

GB = 1e9
# A disk of a network answers in milliseconds; one that is away answers never.
FOLDER_SECONDS = 10.0
LOCK_SECONDS = 30.0
# Ray's logs and sockets, and its store of 0.1 GB where /dev/shm is too small for it.
TEMPORARY_GB = 1.0
# Costs, features and extractors' decoded images of the embedded task stay far below.
CACHE_GB = 1.0
# Tables, figures, pictures of each evaluation, and the database beside them.
RESULTS_GB = 0.2
# The largest sweep that comes along, ablation_paper: eight rows, three seeds.
LARGEST_SWEEP = 24
# Adam keeps two moments for each weight.
MOMENTS = 2
# A checkpoint is written beside the old one, which it then replaces. So many trials share a GPU at the most.
WRITTEN_AT_ONCE = 4
# Ends with 0 if it gets the lock, with 3 if it is refused.
_ASK_FOR_LOCK = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(timeout=0)
except Timeout:
    sys.exit(3)
"""
_REFUSED = 3


@dataclass(frozen=True)
class Check:
    """One line: what was checked, how it stands, what was found, and what to do where something is to be done."""

    check: str
    status: Status
    found: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f" {self.mend}." if self.mend else ""
        return f"{self.check}: {self.found}.{mend}"


def within(seconds: float, name: str, ask: Callable[[], Check]) -> Check:
    """The check that `ask` gives, or a fault where it does not answer in time or fails itself. What hangs is left
    behind in a thread that does not keep the process."""
    answers: queue.SimpleQueue[Check] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except Exception as error:  # a fault of one check must not hide the others
            answers.put(Check(name, "fault", f"the check failed ({type(error).__name__}: {first_line(error)})"))

    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return Check(name, "fault", f"no answer within {seconds:g} s", "Check the disk or the network behind it")


def machine_checks() -> list[Check]:
    """Python, torch, cores and memory, the compiler."""
    return [
        Check("Python", "ok", f"{platform.python_version()} ({sys.executable})"),
        check_cores(os.cpu_count() or 1, len(os.sched_getaffinity(0)), cpu_limit(own_groups())),
        check_memory(),
        check_compiler(),
    ]


def check_cores(installed: int, allowed: int, quota: float | None) -> Check:
    """The cores that this process may use. Pure."""
    found = f"{allowed} of {installed} cores may be used"
    if quota is not None and quota < allowed:
        return Check(
            "cores",
            "note",
            f"{found}, and the container's limit is the time of {quota:g}",
            f"Trials start a thread for each core. Start the container with more, or with --cpuset-cpus for "
            f"{max(1, int(quota))} whole cores",
        )
    return Check("cores", "ok", found)


def check_memory() -> Check:
    """The main memory that this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    usable = main_memory_bytes() / GB
    limited = f", by the container's limit; the machine has {physical:.1f} GB" if usable < physical else ""
    return Check("memory", "ok", f"{usable:.1f} GB may be used{limited}")


def check_compiler() -> Check:
    """The C++ compiler that train.compile=true calls (`pipeline.training.execution.resolve_execution`)."""
    compiler = os.environ.get("CXX", "g++")
    place = shutil.which(compiler)
    if place:
        return Check("C++ compiler", "ok", place)
    mend = "Only train.compile=true needs it. Install g++, or set CXX"
    return Check("C++ compiler", "note", f"there is no {compiler}", mend)


def folder_checks(config: Config, trials: int = LARGEST_SWEEP) -> list[Check]:
    """Whether a sweep can write, lock and store what it must. trials: how many have no checkpoint yet."""
    folders = sweep_folders(config.paths)
    checks = [within(FOLDER_SECONDS, name, lambda n=name, f=folder: check_writable(n, f)) for name, folder in folders]
    if any(check.status == "fault" for check in checks):
        return checks
    trials_at = existing_folder(Path(config.paths.trials).absolute())
    locks = within(LOCK_SECONDS, "file locks", lambda: check_locks(trials_at))
    needs = disk_needs(config, trials)
    return [*checks, locks, *check_disks([(name, existing_folder(folder), needs[name]) for name, folder in folders])]


def sweep_folders(paths: PathsConfig) -> list[tuple[str, Path]]:
    """The folders that a sweep writes into, by the settings that name them."""
    own = [(f"paths.{name}", Path(getattr(paths, name)).absolute()) for name in ("trials", "results", "logs", "cache")]
    return [*own, ("temporary folder", Path(tempfile.gettempdir()))]


def existing_folder(folder: Path) -> Path:
    """The folder, or the nearest one around it that exists. Raises NotADirectoryError where that is a file."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return place
        if os.path.lexists(place):
            raise NotADirectoryError(f"{place} is a file, not a folder")
    return Path("/")


def check_writable(name: str, folder: Path) -> Check:
    """Whether a file can be made in the folder, or in the one in which it will be made."""
    mend = "Set TMPDIR to another folder" if name == "temporary folder" else f"Choose another folder with {name}=…"
    try:
        place = existing_folder(folder)
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(b"0")
            file.flush()
    except NotADirectoryError as error:
        return Check(name, "fault", str(error), mend)
    except OSError as error:
        return Check(name, "fault", f"cannot write into {folder} ({error.strerror})", mend)
    return Check(name, "ok", f"{folder} is writable" if place == folder else f"{folder} can be made")


def check_locks(folder: Path) -> Check:
    """Whether a lock that one process holds is refused to another, without which two sweeps could train one trial."""
    place = folder / f".lock-check-{os.getpid()}"
    mend = "Put paths.trials on a file system with locks, such as a local disk or NFS version 4"
    try:
        with FileLock(place, timeout=1.0):  # nobody else has it
            asked = subprocess.run(
                [sys.executable, "-c", _ASK_FOR_LOCK, str(place)],
                capture_output=True,
                text=True,
                timeout=LOCK_SECONDS,
                check=False,
            )
    except (OSError, NotImplementedError) as error:
        return Check("file locks", "fault", f"no lock can be taken in {folder} ({error})", mend)
    finally:
        with suppress(OSError):
            place.unlink()
    return judge_lock(folder, asked.returncode, asked.stderr, mend)


def judge_lock(folder: Path, code: int, said: str, mend: str) -> Check:
    """What the exit code of the second process means. Pure."""
    if code == _REFUSED:
        return Check("file locks", "ok", f"they work in {folder}")
    if code == 0:
        return Check("file locks", "fault", f"two processes got the same lock in {folder}", mend)
    last = (said.strip() or f"exit code {code}").splitlines()[-1]
    return Check("file locks", "fault", f"a second process could not ask for a lock in {folder} ({last})", mend)


def checkpoint_gb(config: Config) -> float:
    """The size of a trial's checkpoint: networks and queues, and the optimisers' moments."""
    objective = build_objective(config.model, config.data.shape, rng_for(0, "weights"))
    state = [value for value in objective.state_dict().values() if isinstance(value, torch.Tensor)]
    weights = [weight for phase in objective.phases for weight in objective.parameters_of(phase)]
    return sum(tensor.nbytes for tensor in [*state, *weights * MOMENTS]) / GB


def disk_needs(config: Config, trials: int) -> Mapping[str, float]:
    """How much each folder of a sweep needs (10^9 bytes)."""
    checkpoints = checkpoint_gb(config) * (trials + WRITTEN_AT_ONCE)
    data = config.data
    images = 0.0
    if isinstance(data, FolderConfig) and data.expected_images is not None:
        images = sum(data.expected_images) * 3 * data.load_size[0] * data.load_size[1] / GB
    return {
        "paths.trials": checkpoints + RESULTS_GB,
        "paths.results": RESULTS_GB,
        "paths.logs": RESULTS_GB,
        "paths.cache": CACHE_GB + images,
        "temporary folder": TEMPORARY_GB,
    }


def check_disks(needs: Sequence[tuple[str, Path, float]]) -> list[Check]:
    """A line for each disk: what is free, and what the folders on it need together (name, folder, 10^9 bytes)."""
    disks: dict[int, list[tuple[str, Path, float]]] = {}
    for need in needs:
        disks.setdefault(need[1].stat().st_dev, []).append(need)
    checks: list[Check] = []
    for group in disks.values():
        free = shutil.disk_usage(group[0][1]).free / GB
        checks.append(check_disk([name for name, _, _ in group], free, sum(need for _, _, need in group)))
    return checks


def check_disk(names: Sequence[str], free_gb: float, needed_gb: float) -> Check:
    """Whether a disk has room for what the folders on it need. Pure."""
    found = f"{free_gb:.1f} GB free for {', '.join(names)}, which may take {needed_gb:.1f} GB"
    if free_gb < needed_gb:
        return Check("disk", "fault", found, "Free some, or choose a folder on another disk with paths.…=… or TMPDIR")
    return Check("disk", "ok", found)
