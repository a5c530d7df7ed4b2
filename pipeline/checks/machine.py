"""Check this machine before a sweep: Python, cores, memory, compiler, folders, locks and disks."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from models.build import build_objective
from pipeline.checks.check import Check, last_line, run_python, within
from pipeline.config.places import results_folder, trials_folder
from pipeline.config.schema import Config, FolderConfig
from pipeline.environment import temporary_base
from pipeline.hardware.control_groups import cpu_limit, own_groups
from pipeline.hardware.device import main_memory_bytes
from pipeline.locks import LEASE_SECONDS, file_lock, has_file_locks
from pipeline.rng import rng_for

GB = 1e9
# A network disk answers in milliseconds. One that is disconnected never answers.
FOLDER_SECONDS = 10.0
LOCK_SECONDS = 30.0
# For Ray's logs, sockets, and object store (0.1 GB if /dev/shm is too small).
TEMPORARY_GB = 1.0
# For cached step costs, features, and the images of task=stripes. They need much less.
CACHE_GB = 1.0
# For tables, figures, images of each evaluation, and the database.
RESULTS_GB = 0.2
# Trials of the largest sweep in sweeps/, ablation_paper: eight rows, three seeds.
LARGEST_SWEEP = 24
# Adam stores two moments per weight.
MOMENTS = 2
# The last one and the one before.
CHECKPOINTS_KEPT = 2
# A new checkpoint is written before the oldest one is deleted. At most this many trials share a GPU.
WRITTEN_AT_ONCE = 4
_ASK_FOR_LOCK = """
import pathlib, sys
from pipeline.locks import file_lock
file_lock(pathlib.Path(sys.argv[1])).acquire(timeout=0)
"""


def machine_checks() -> list[Check]:
    """Check Python, cores, memory and the compiler."""
    return [
        Check("Python", "ok", f"{platform.python_version()} ({sys.executable})"),
        check_cores(os.cpu_count() or 1, len(os.sched_getaffinity(0)), cpu_limit(own_groups())),
        check_memory(),
        check_compiler(),
    ]


def check_cores(installed: int, allowed: int, quota: float | None) -> Check:
    """Compare the cores that this process may use with the container's limit of CPU time."""
    found = f"{allowed} of {installed} cores are usable"
    if quota is not None and quota < allowed:
        advice = (
            "Trials start one thread per core. Raise the limit, or start the container with --cpuset-cpus for "
            f"{max(1, int(quota))} whole cores"
        )
        return Check("cores", "note", f"{found}, but the container may only use the time of {quota:g} cores", advice)
    return Check("cores", "ok", found)


def check_memory() -> Check:
    """Check how much main memory this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    usable = main_memory_bytes() / GB
    limited = f" (limit of the container; the machine has {physical:.1f} GB)" if usable < physical else ""
    return Check("memory", "ok", f"{usable:.1f} GB are usable{limited}")


def check_compiler() -> Check:
    """Look for the C++ compiler that train.compile=true needs (`pipeline.training.execution.resolve_execution`)."""
    compiler = os.environ.get("CXX", "g++")
    path = shutil.which(compiler)
    if path:
        return Check("C++ compiler", "ok", path)
    advice = "Only train.compile=true needs it. Install g++, or set CXX"
    return Check("C++ compiler", "note", f"{compiler} is not on the PATH", advice)


def folder_checks(config: Config, trials: int = LARGEST_SWEEP) -> list[Check]:
    """Check that a sweep can write into its folders, lock them, and has enough disk space.

    trials: the number of trials without a checkpoint.
    """
    folders = sweep_folders(config, trials)
    checks = [within(FOLDER_SECONDS, name, lambda n=name, f=path: check_writable(n, f)) for name, path, _ in folders]
    if any(check.status == "fault" for check in checks):
        return checks
    trials_at = existing_folder(folders[0][1])
    locks = within(LOCK_SECONDS, "file locks", lambda: check_locks(trials_at))
    return [*checks, locks, *check_disks([(name, existing_folder(path), needed) for name, path, needed in folders])]


def sweep_folders(config: Config, trials: int) -> list[tuple[str, Path, float]]:
    """Return the folders that a sweep writes into: the setting, the path, and the disk space needed (10^9 bytes)."""
    data, paths, images = config.data, config.paths, 0.0
    if isinstance(data, FolderConfig) and data.expected_images is not None:
        images = sum(data.expected_images) * 3 * data.load_size[0] * data.load_size[1] / GB
    needed = {
        "trials": checkpoint_gb(config) * (CHECKPOINTS_KEPT * trials + WRITTEN_AT_ONCE) + RESULTS_GB,
        "results": RESULTS_GB,
        "logs": RESULTS_GB,
        "cache": CACHE_GB + images,
    }
    at = {"trials": trials_folder(paths), "results": results_folder(paths)}
    folders = {name: (at.get(name) or Path(getattr(paths, name))).absolute() for name in needed}
    own = [(f"paths.{name}", folders[name], room) for name, room in needed.items()]
    return [*own, ("temporary folder", temporary_base(), TEMPORARY_GB)]


def existing_folder(folder: Path) -> Path:
    """Return the folder (absolute), or its nearest parent that exists. Raises NotADirectoryError if that is a file."""
    found = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not found.is_dir():
        raise NotADirectoryError(f"{found} is a file, not a folder")
    return found


def check_writable(name: str, folder: Path) -> Check:
    """Write a temporary file into the folder, or into its nearest parent that exists."""
    advice = "Set TMPDIR to another folder" if name == "temporary folder" else f"Choose another folder with {name}=…"
    try:
        existing = existing_folder(folder)
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"0")
            file.flush()
    except NotADirectoryError as error:
        return Check(name, "fault", str(error), advice)
    except OSError as error:
        return Check(name, "fault", f"cannot write into {folder} ({error.strerror})", advice)
    return Check(name, "ok", f"{folder} is writable" if existing == folder else f"{folder} can be created")


def check_locks(folder: Path) -> Check:
    """Check that a second process cannot take a lock that this one holds. Else two sweeps could train one trial."""
    path = folder / f".lock-check-{os.getpid()}"
    try:
        with file_lock(path).acquire(timeout=1.0):  # no other process uses this file
            root = Path(__file__).parents[2]
            asked = run_python("-c", _ASK_FOR_LOCK, str(path.absolute()), seconds=LOCK_SECONDS, cwd=root)
    except (OSError, NotImplementedError) as error:
        found = f"cannot lock a file in {folder} ({error})"
    else:
        if "Timeout:" in last_line(asked):
            without = "" if has_file_locks(folder) else f", by leases of {LEASE_SECONDS:g} s: there is no flock"
            return Check("file locks", "ok", f"file locks work in {folder}{without}")
        found = f"a second process could not ask for a lock in {folder} ({last_line(asked)})"
        if asked.returncode == 0:
            found = f"two processes got the same lock in {folder}"
    finally:
        with suppress(OSError):
            path.unlink()
    advice = "Put paths.trials on a file system with locks, such as a local disk or NFS version 4"
    return Check("file locks", "fault", found, advice)


def checkpoint_gb(config: Config) -> float:
    """Return the size of a checkpoint in 10^9 bytes: networks, queues, and the moments of the optimisers."""
    objective = build_objective(config.model, config.data.shape, rng_for(0, "weights"))
    state = [value for value in objective.state_dict().values() if isinstance(value, torch.Tensor)]
    weights = [weight for phase in objective.phases for weight in objective.parameters_of(phase)]
    return sum(tensor.nbytes for tensor in [*state, *weights * MOMENTS]) / GB


def check_disks(needs: Sequence[tuple[str, Path, float]]) -> list[Check]:
    """Check each disk for the space that all its folders need together. needs: name, folder, 10^9 bytes."""
    disks: dict[int, list[tuple[str, Path, float]]] = {}
    for need in needs:
        disks.setdefault(need[1].stat().st_dev, []).append(need)
    checks: list[Check] = []
    for names, folders, sizes in (zip(*group, strict=True) for group in disks.values()):
        free, needed = shutil.disk_usage(folders[0]).free / GB, sum(sizes)
        found = f"{free:.1f} GB free for {', '.join(names)}, which need up to {needed:.1f} GB"
        if free < needed:
            advice = "Free space, or choose a folder on another disk with paths.…=… or TMPDIR"
            checks.append(Check("disk", "fault", found, advice))
        else:
            checks.append(Check("disk", "ok", found))
    return checks
