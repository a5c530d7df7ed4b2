"""What a process gets from its surroundings: variables, folders for temporary files and sockets, torch's version."""

import hashlib
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import UserError
from pipeline.processes import this_host

# The path of a socket has at most 107 bytes. Ray's paths, and those of multiprocessing, take about 75 of them.
LONGEST_TEMPORARY = 30


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for the body, then restore their earlier values."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def torch_version() -> str:
    """Return the version of the installed torch, without its import, which takes seconds."""
    return version("torch")


@cache
def temporary_base() -> Path:
    """Return the system's folder for temporary files, or the one that TMPDIR names."""
    return Path(tempfile.gettempdir())


def runtime_folder() -> Path:
    """Return this user's folder for temporary files, sockets and Ray's sessions. Its path is short, and private.

    Hosts, and containers that do not see each other's processes, have different folders.
    """
    base = temporary_base()
    if len(os.fsencode(base)) > LONGEST_TEMPORARY:
        base = Path("/tmp")  # noqa: S108 (the folder below is checked to be of this user alone)
    folder = base / f"cut-ablation-{os.getuid()}-{this_host()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(f"{folder}: is not a folder of this user alone. Remove it, or set TMPDIR to another folder.")
    return folder


def ray_sessions() -> Path:
    """The folder for the sessions of the Ray clusters that sweeps start."""
    return runtime_folder() / "ray"


def process_folder() -> Path:
    """Return the folder of this process within the runtime folder. If it is killed, the next sweep removes it."""
    folder = runtime_folder() / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def temporary_files_here() -> Iterator[None]:
    """Let Python's temporary files, those of libraries too, be in the folder of this process while the body runs."""
    before, tempfile.tempdir = tempfile.tempdir, str(process_folder())
    try:
        yield
    finally:
        tempfile.tempdir = before


def remove_process_folder() -> None:
    """Remove the folder of this process, which ends now."""
    with suppress(OSError, UserError):
        shutil.rmtree(process_folder())


def restart_by_plain_path() -> None:
    """Start this process again by a path of Python that a shell reads as it is, unless it was started by one.

    Ray gives the paths of Python and of its packages to a shell without quoting them. With a space or a quote in them,
    its workers would never start. The plain path is a link to the environment, in the runtime folder.
    """
    environment_folder = Path(sys.executable).parents[1]
    if shlex.quote(sys.executable) == sys.executable:
        return
    link = runtime_folder() / f"python-{hashlib.sha256(os.fsencode(environment_folder)).hexdigest()[:8]}"
    if shlex.quote(str(link)) != str(link):
        raise UserError(f"TMPDIR={temporary_base()}: Ray needs a path without spaces and quotes. Choose another.")
    with suppress(FileExistsError):
        link.symlink_to(environment_folder)
    python = link / Path(sys.executable).relative_to(environment_folder)
    os.execv(python, [str(python), *sys.orig_argv[1:]])  # noqa: S606 (no shell is wanted)


def library_settings(cache: Path) -> dict[str, str]:
    """Return variables that make torch read nothing but tensors, its threads sleep, and libraries write only into a
    folder.

    Their defaults are the home folder, which may be absent, and the folder for temporary files, where others can put
    code. Weights that torch has already downloaded for this user are used where they are.
    """
    settings = {
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        # By default, OpenMP's threads spin while they wait for each other. Beside other load that took 2.8 to 14.5 s a
        # step with two threads, sleeping 0.2 to 0.8 s (a tiny generator, 2-core EPYC).
        "OMP_WAIT_POLICY": "passive",
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
    }
    of_user = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
    if not Path(of_user, "torch/hub").is_dir():
        settings["TORCH_HOME"] = str(cache / "torch")
    return settings
