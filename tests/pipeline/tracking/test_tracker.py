from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.records.schema import Manifest, SweepRow
from pipeline.tracking.store import Tracker, store_lock

MANIFEST = Manifest("mine", "Which?", "stripes", "a", (SweepRow("a", "", {0: "k0"}, {}),))


@pytest.fixture
def tracker(project: Path) -> Tracker:
    uri = f"sqlite:///{project / 'mlflow.db'}"
    return Tracker(uri, "stripes", (project / "artifacts").as_uri(), store_lock(uri, project))


def test_a_tracker_records_a_sweep_once_and_attaches_results_to_the_newest(project: Path, tracker: Tracker) -> None:
    for manifest in (MANIFEST, replace(MANIFEST, command=("compute.device=cpu",)), replace(MANIFEST, question="Who?")):
        tracker.record_sweep(manifest)
    client = MlflowClient(tracker.uri)
    newest, oldest = client.search_runs([tracker.experiment_id], "tags.kind = 'sweep' and tags.sweep = 'mine'")
    (project / "results").mkdir()
    (project / "results/table.md").write_text("a table")
    tracker.attach_results("mine", project / "results", "What it shows.", {})
    files = [[file.path for file in client.list_artifacts(run.info.run_id)] for run in (newest, oldest)]
    assert files == [["results", "sweep.json"], ["sweep.json"]]


def test_a_long_reason_is_cut_and_long_settings_are_not(tracker: Tracker) -> None:
    run_id = tracker.create_trial("key", "a, seed 0")
    tracker.log_settings(run_id, {}, {"set.mine": "x" * 3000})
    tracker.end_trial(run_id, "FAILED", {"error": "y" * 3000})
    tracker.end_trial(run_id, "KILLED", {"error": "later"})
    (trial,) = tracker.find_trials().values()
    assert (trial.status, trial.error, len(trial.tags["set.mine"])) == ("FAILED", "y" * 500, 3000)
