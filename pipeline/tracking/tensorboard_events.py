"""A trial's event files for TensorBoard. The only file that imports it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from analysis.records.names import MAIN_SCORES, eval_metric


class TensorBoardEvents:
    """Writes event files into a folder. A resumed trial's process writes a new file, whose steps replace older ones.

    first_step: that of the checkpoint; TensorBoard drops what earlier files have after it.
    """

    def __init__(
        self, folder: Path, name: str, settings: Mapping[str, str | int | float | bool | None], first_step: int
    ) -> None:
        # Errors of its thread come with a later call. With 0 it would drop what has no step.
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        shown = {field: str(value) if value is None else value for field, value in settings.items()}
        scores = {eval_metric(score): 0.0 for score in MAIN_SCORES}
        for summary in hparams({"trial": name, **shown}, scores):
            self._writer.file_writer.add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def show(self, step: int, image: NDArray[np.uint8]) -> None:
        self._writer.add_image("grid", image, step, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, values: Mapping[str, float]) -> None:
        """Write the final values, each at step 0."""
        self.log(0, values)
        self.stop()

    def stop(self) -> None:
        self._writer.close()
