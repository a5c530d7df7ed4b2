"""Clear what killed processes of this user have left here: Ray's processes and sessions, temporary files, sockets."""

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from pipeline.environment import ray_sessions, runtime_folder
from pipeline.processes import start_of, this_host


def tune_storage(cache: Path) -> Path:
    """The folder for Tune's files of this process."""
    return cache / "ray" / f"{this_host()}-{os.getpid()}"


def running_sweeps(cache: Path) -> list[Path]:
    """Return Tune's folders of the sweeps that run now with this cache, as far as this host can know."""
    found = [folder for folder in (cache / "ray").glob("*-*") if folder.is_dir()]
    return [folder for folder in found if not _has_ended(*folder.name.rsplit("-", 1))]


def _has_ended(host: str, pid: str) -> bool:
    return host == this_host() and pid.isdigit() and start_of(int(pid)) == -1


def clear_leftovers(cache: Path) -> None:
    """Remove what processes that are gone have left, and end what they had started."""
    for session in ray_sessions().glob("session_*_*"):
        _clear(session, session.name.rpartition("_")[2])
    for folder in runtime_folder().glob("[0-9]*"):
        _clear(folder, folder.name)
    for storage in (cache / "ray").glob(f"{this_host()}-*"):
        _clear(storage, storage.name.rpartition("-")[2])


def _clear(folder: Path, pid: str) -> None:
    if folder.is_symlink() or not pid.isdigit() or start_of(int(pid)) != -1:
        return
    for process in _writing_into(folder):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _writing_into(folder: Path) -> list[int]:
    """Return the processes of this user that have a file of the folder open for writing, as Ray's have their logs.

    A process that only reads there may be another sweep that removes the folder too.
    """
    found: list[int] = []
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):  # of another user, or gone
            files = [file for file in descriptors.iterdir() if file.readlink().is_relative_to(folder)]
            if any(_is_for_writing(file) for file in files):
                found.append(int(descriptors.parent.name))
    return found


def _is_for_writing(file: Path) -> bool:
    """Return whether /proc/PID/fd/N is open for writing."""
    details = (file.parents[1] / "fdinfo" / file.name).read_text()
    flags = next(line.split()[1] for line in details.splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
