"""Write a sweep's results from its records, to the results folder and to MLflow."""

from collections.abc import Mapping
from pathlib import Path

from analysis.report.write import Written, write_results
from pipeline.tracking.store import Tracker


def publish_results(tracker: Tracker, sweep: str, task: str, results: Path, views: Mapping[str, str]) -> Written:
    """Write tables, figures and the report of a recorded sweep, and store them in MLflow with the summary.

    views: saved views of the UI, by their tags.
    """
    written = write_results(tracker.uri, sweep, task, results)
    description = "\n\n".join((written.question, *written.summary, "Artifacts, results/index.html: the report."))
    tracker.attach_results(sweep, written.folder, description, views)
    return written
