"""Set environment variables temporarily, and which of them keep libraries safe and out of the home folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


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
