"""Checkpoints: written whole or not at all, verified when read, never unpickled."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError, first_line


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors in nested dicts and lists; a crash at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def load_checkpoint(path: Path, mend: str = "remove it to train this trial from the start") -> dict[str, Any]:
    """Read it back on the CPU. Raises UserError, with the mend, where the file is torn or not a checkpoint."""
    try:
        # Files of torch before 1.6 are no archives and have no checksums.
        torn = _torn_part(path) if zipfile.is_zipfile(path) else None
        content = None if torn else torch.load(path, map_location="cpu", weights_only=True)
        reason = f"its part {torn} fails its checksum" if torn else f"holds a {type(content).__name__}"
    except pickle.UnpicklingError:
        # torch's own words advise to run whatever code the file holds.
        content, reason = None, "torch finds no tensors alone in it"
    except Exception as error:  # foreign bytes fail in many ways
        content, reason = None, first_line(error).partition(". ")[0]
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a whole checkpoint ({reason}); {mend}")
    return content


def _torn_part(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()
