"""NVIDIA's Multi-Process Service (MPS), through which several processes use a GPU at the same time."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

CONTROL = "nvidia-cuda-mps-control"
SECONDS = 30.0


def mps_available() -> bool:
    """Return whether this machine has the control program of MPS."""
    return shutil.which(CONTROL) is not None


def mps_runs() -> bool:
    """Return whether a daemon runs where CUDA looks for one: in this folder."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")).is_dir()


@contextmanager
def mps_daemon() -> Iterator[Mapping[str, str]]:
    """Run a daemon in the body. Gives the variables by which its processes find it.

    Raises UserError where it cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        found_by = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for place in found_by.values():
            Path(place).mkdir()
        _control(["-d"], found_by, "")
        try:
            yield found_by
        finally:
            _control([], found_by, "quit\n")


def _control(arguments: list[str], found_by: Mapping[str, str], order: str) -> None:
    command = [CONTROL, *arguments]
    try:
        subprocess.run(
            command,
            input=order,
            env={**os.environ, **found_by},
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{' '.join(command)} failed: {error}. Measure without MPS, or start its daemon.") from None
