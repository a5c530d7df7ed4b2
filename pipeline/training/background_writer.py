"""What a trial writes during training, in order: at once, or in a background thread."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from pipeline.hardware.transfer import copy_to_host

Tree = TypeVar("Tree")


class Writer:
    """Does jobs one after another. After a job that fails it does no more, and raises the job's error.

    background: do the jobs in a thread, and raise an error at the next call. Use this for a GPU, which would be idle
    while the host writes. On a CPU the thread would take a core from training.
    """

    def __init__(self, *, background: bool) -> None:
        self.background = background
        self._thread = ThreadPoolExecutor(1, "writer") if background else None
        self._last: Future[None] = Future()
        self._last.set_result(None)

    def snapshot(self, tree: Tree) -> Callable[[], Tree]:
        """Return a function for a job to call. It gives the tree with the values that its tensors have now."""
        return copy_to_host(tree) if self._thread else lambda: tree

    def write(self, job: Callable[[], object]) -> Future[None]:
        """Do the job, now or after the waiting ones. The result says whether it is done."""
        if self._last.done():
            self._last.result()
        if self._thread:
            self._last = self._thread.submit(_do, job, self._last)
        else:
            job()
        return self._last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all jobs are done. Raise the error of a job, unless training has failed itself."""
        if self._thread:
            self._thread.shutdown()
        if error is None:
            self._last.result()


def _do(job: Callable[[], object], before: Future[None]) -> None:
    before.result()
    job()
