"""Checkpoint files: when one is due, written atomically, verified when read, never unpickled."""

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

# Between checkpoints written in the background. On a GPU an epoch may take seconds, and a checkpoint has up to
# hundreds of megabytes.
SECONDS_APART = 60.0
RETRAIN = "Remove the file to train this trial from the start."


class Checkpoints:
    """Saves a trial's checkpoint every so many epochs, and within long epochs every so many minutes.

    In the background it saves at most once a minute, and never while the earlier checkpoint is still being written.
    It always saves after the last step.
    """

    def __init__(self, path: Path, train: TrainConfig, writer: Writer) -> None:
        self._path, self._train, self._writer = path, train, writer
        self._saved = time.monotonic()
        self._saving: Future[None] | None = None

    def due(self, epochs_done: int, *, epoch_ends: bool, last: bool) -> bool:
        """Return whether to save now. last: this was the trial's last step."""
        since = time.monotonic() - self._saved
        if last:
            return True
        if self._saving and (not self._saving.done() or (self._writer.background and since < SECONDS_APART)):
            return False
        epoch_is_due = epoch_ends and epochs_done % self._train.checkpoint_every_epochs == 0
        return epoch_is_due or since >= 60 * self._train.checkpoint_every_minutes

    def save(self, state: dict[str, Any]) -> None:
        """Write the state as it is now."""
        snapshot = self._writer.snapshot(state)
        self._saved = time.monotonic()
        self._saving = self._writer.write(lambda: save_checkpoint(self._path, snapshot()))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors in nested dicts and lists. A crash at any moment leaves the old file or the new one."""
    remove_leftovers(path)
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, advice: str = RETRAIN) -> dict[str, Any]:
    """Read a checkpoint of any kind, on the CPU. Raises UserError, with the advice, if the file is damaged."""
    try:
        # Files of torch before 1.6 are no archives and have no checksums.
        torn = _torn_part(path) if zipfile.is_zipfile(path) else None
        content = None if torn else torch.load(path, map_location="cpu", weights_only=True)
        reason = f"the checksum of {torn} differs" if torn else f"it holds a {type(content).__name__}"
    except pickle.UnpicklingError:
        # torch's message advises to run whatever code the file holds.
        content, reason = None, "it holds more than tensors and plain values"
    except Exception as error:  # foreign bytes fail in many ways
        content, reason = None, first_line(error).partition(". ")[0]
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}. {advice}")
    return content


def _torn_part(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()
