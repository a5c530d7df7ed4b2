"""Write a trial's losses, scores and images also to TensorBoard or Weights & Biases. MLflow remains the record.

A system that fails gets nothing more. The trial goes on, and a line and a tag say why.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import Config
from pipeline.config.trial_key import keyed_fields
from pipeline.errors import UserError, first_line


@dataclass(frozen=True)
class Start:
    """A trial as a writer begins. folder: the trial's. name: of its run in MLflow, with the row and the seed.

    first_step: the step of the checkpoint from which it goes on.
    """

    folder: Path
    key: str
    name: str
    first_step: int


class Writer(Protocol):
    """What a file of an outside system offers. Any call may raise any error."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def show(self, step: int, image: NDArray[np.uint8]) -> None: ...

    def flush(self) -> None: ...

    def finish(self, values: Mapping[str, float]) -> None: ...

    def stop(self) -> None: ...


def require_writers(also: Sequence[str]) -> None:
    """Raise UserError if the package of one of these systems is not installed."""
    for name in also:
        if find_spec(name) is None:
            raise UserError(f"tracking.also=[{name}]: the package is not installed. Run: pip install {name}")


class Also:
    """The writers that a configuration asks for. None of its methods raises an error.

    tell: called with the reason when a writer fails.
    """

    def __init__(self, config: Config, start: Start, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._writers: dict[str, Writer] = {}
        for name in dict.fromkeys(config.tracking.also):
            self._try(name, lambda name=name: self._writers.update({name: _open(name, config, start)}))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step. Steps come in their order."""
        self._each(lambda writer: writer.log(step, values))

    def show(self, step: int, image: NDArray[np.uint8]) -> None:
        """Write an image (H, W, 3) of a step, before the step's values."""
        self._each(lambda writer: writer.show(step, image))

    def flush(self) -> None:
        """Bring to disk what was written, since the checkpoint of this step is saved next."""
        self._each(lambda writer: writer.flush())

    def finish(self, values: Mapping[str, float]) -> None:
        """Write the final values of a trial that is done."""
        self._each(lambda writer: writer.finish(values))
        self._writers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the writers of a trial that is not done."""
        self._each(lambda writer: writer.stop())

    def _each(self, call: Callable[[Writer], None]) -> None:
        for name, writer in list(self._writers.items()):
            self._try(name, lambda writer=writer: call(writer))

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # of any kind
            why = f"{name} gets no more values: {type(error).__name__}: {first_line(error)}"
            print(why, file=sys.stderr, flush=True)
            self._tell(why)
            if writer := self._writers.pop(name, None):
                with suppress(Exception):
                    writer.stop()


def _open(name: str, config: Config, start: Start) -> Writer:
    settings: dict[str, Any] = dict(keyed_fields(config))
    if name == "tensorboard":
        from pipeline.tracking.tensorboard_events import TensorBoardEvents

        return TensorBoardEvents(start.folder / "tensorboard", start.name, settings, start.first_step)
    from pipeline.tracking.wandb_run import WandbRun

    return WandbRun(start.folder / "wandb", config.data.name, start.key, start.name, settings)
