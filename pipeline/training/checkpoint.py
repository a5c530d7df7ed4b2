"""Checkpoints: when they are due, written atomically, verified when read, never unpickled."""

import os
import pickle
import time
import zipfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

from pipeline.config.schema import TrainConfig
from pipeline.errors import UserError, first_line
from pipeline.files import remove_leftovers, replacing
from pipeline.training.background_writer import Writer

# Beside the training of a GPU, where an epoch may take seconds and a checkpoint has hundreds of megabytes.
SECONDS_APART = 60.0


class Checkpoints:
    """A trial's checkpoint, saved at the end of every so many epochs and, where epochs are long, every so many minutes.

    One that is written beside the training comes a minute after the one before at the earliest, and never while that
    one is still being written. The last one of a trial is always saved.
    """

    def __init__(self, path: Path, train: TrainConfig, writer: Writer) -> None:
        self._path, self._train, self._writer = path, train, writer
        self._saved = time.monotonic()
        self._saving: Future[None] | None = None

    def due(self, epochs_done: int, *, epoch_ends: bool, last: bool) -> bool:
        """Whether to save now: at the end of an epoch or within one, or behind the trial's last step."""
        since = time.monotonic() - self._saved
        if last:
            return True
        if self._saving and (not self._saving.done() or (self._writer.beside and since < SECONDS_APART)):
            return False
        epoch_is_due = epoch_ends and epochs_done % self._train.checkpoint_every_epochs == 0
        return epoch_is_due or since >= 60 * self._train.checkpoint_every_minutes

    def save(self, state: dict[str, Any]) -> None:
        """Write the state as it is now."""
        kept = self._writer.keep(state)
        self._saved = time.monotonic()
        self._saving = self._writer.write(lambda: save_checkpoint(self._path, kept()))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors in nested dicts and lists; a crash at any moment leaves the old file or the new one."""
    remove_leftovers(path)
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


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
