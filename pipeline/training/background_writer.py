"""What a trial writes while it trains, in order: at once, or by a thread beside the training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from pipeline.hardware.transfer import copy_to_host

Tree = TypeVar("Tree")


class Writer:
    """Does jobs one after another. Behind one that fails nothing is written, and its error is raised: at once, or by
    the next call where jobs are done beside the training.

    beside: for a GPU, which would stand idle while the host writes. On a CPU the thread would take the training's core.
    """

    def __init__(self, *, beside: bool) -> None:
        self.beside = beside
        self._thread = ThreadPoolExecutor(1, "writer") if beside else None
        self._error: BaseException | None = None

    def keep(self, tree: Tree) -> Callable[[], Tree]:
        """What the tree's tensors hold now, for a job to ask for."""
        return copy_to_host(tree) if self._thread else lambda: tree

    def write(self, job: Callable[[], object]) -> Future[None]:
        """Do the job, now or behind those that are waiting. Gives what says whether it is done."""
        if self._error:
            raise self._error
        if self._thread is None:
            job()
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._thread.submit(self._do, job)

    def _do(self, job: Callable[[], object]) -> None:
        if self._error:
            return
        try:
            job()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is written. Raises the error of a job, unless the training has failed by itself."""
        if self._thread:
            self._thread.shutdown()
        if self._error and error is None:
            raise self._error
