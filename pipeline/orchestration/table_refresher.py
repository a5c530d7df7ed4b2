"""Keep a sweep's tables up to date while it trains."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from analysis.records.schema import RecordsError
from analysis.tables.write import write_tables
from pipeline.orchestration.planner import Plan


class TableRefresher(AbstractContextManager["TableRefresher"]):
    """Rewrites the tables in a thread, one time at once: if many short trials end, several share one rewrite."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._last: Future[None] | None = None

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()

    def refresh(self) -> None:
        """Start to rewrite the tables, unless a rewrite is running."""
        if self._last is None or self._last.done():
            self._last = self._worker.submit(self._write)

    def _write(self) -> None:
        plan = self.plan
        try:
            write_tables(plan.tracker.uri, plan.sweep.name, plan.task, Path(plan.config.paths.results))
        except (RecordsError, OSError):
            return  # the command writes the tables once more at its end, and reports the error then
