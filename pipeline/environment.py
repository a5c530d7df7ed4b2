"""What a process gets from its surroundings: environment variables, and a folder for sockets."""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.processes import this_host

# The path of a socket has at most 107 bytes. Ray's paths take about 75 of them.
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


def runtime_folder() -> Path:
    """Return this user's folder for sockets and Ray's sessions. Its path is short, and nobody else can open it.

    Hosts, and containers that do not see each other's processes, have different folders.
    """
    temporary = tempfile.gettempdir()
    # The folder below is checked to be of this user alone.
    base = Path(temporary if len(os.fsencode(temporary)) <= LONGEST_TEMPORARY else "/tmp")  # noqa: S108
    folder = base / f"cut-ablation-{os.getuid()}-{this_host()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(f"{folder}: is not a folder of this user alone. Remove it, or set TMPDIR to another folder.")
    return folder


def library_settings(cache: Path) -> dict[str, str]:
    """Return variables that make torch read nothing but tensors, and libraries write only into a folder.

    Their defaults are the home folder, which may be absent, and the folder for temporary files, where others can put
    code. Weights that torch has already downloaded for this user are used where they are.
    """
    settings = {
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
    }
    of_user = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
    if not Path(of_user, "torch/hub").is_dir():
        settings["TORCH_HOME"] = str(cache / "torch")
    return settings
