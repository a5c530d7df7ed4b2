"""Trials whose checkpoints are kept at a real S3 server: they move between nodes, and outlive its absence."""

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trial_jobs import history, job_of, read

from pipeline.config.places import TRIALS, stored_trial
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.inference.find import find_checkpoint
from pipeline.storage.faults import StoreError
from pipeline.storage.store import Store
from pipeline.tracking.journal import JOURNAL, merged_journals
from pipeline.training.checkpoint import is_storage_fault, load_checkpoint
from pipeline.trial import stored_trial as stored_trial_module
from pipeline.trial.here import at_this_node, put_data
from pipeline.trial.job import TrialJob
from pipeline.trial.run import StopRequestedError, run_trial
from pipeline.trial.stop_request import request_stop, stops_at
from pipeline.trial.stored_trial import kept_at
from pipeline.trial.waiting_records import send_waiting_records

# Trains until it is killed: it stands still after its first checkpoint.
UNTIL_KILLED = """
import pickle, sys, time
from pathlib import Path
from pipeline.trial.run import run_trial
for progress in run_trial(pickle.loads(Path(sys.argv[1]).read_bytes())):
    if progress.step >= 6:
        time.sleep(1000)
"""


@pytest.fixture
def at_s3(project: Path, tiny: Callable[..., Config], s3: str, monkeypatch: pytest.MonkeyPatch) -> TrialJob:
    """The job of a tiny trial, 12 steps, with a checkpoint after each 6, kept at an address."""
    for name in ("SECONDS_BETWEEN_LOOKS", "SECONDS_BETWEEN_STOPS", "SECONDS_BETWEEN_RETRIES"):
        monkeypatch.setattr(stored_trial_module, name, 0.05)
    config = tiny(f"paths.trials={s3}")
    job = job_of(config)
    put_data(config.paths, Path(job.data_folder))
    return replace(job, data_folder=str(Path(job.data_folder).absolute()), stored=stored_trial(config.paths, job.key))


@pytest.fixture
def whole(at_s3: TrialJob, tiny: Callable[..., Config]) -> TrialJob:
    """The same trial, trained without interruption in a folder."""
    job = job_of(tiny("paths.trials=whole"), "whole")
    list(run_trial(job))
    return job


def until(happened: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def on_another_node(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the cache away, so that this is a node which has nothing. Return its own cache."""
    Path(".cache").rename("cache-of-the-first-node")
    monkeypatch.setenv("CUT_ABLATION_CACHE", str(Path("other-node").absolute()))
    return Path("other-node").absolute()


def stored_step(job: TrialJob, name: str, tmp_path: Path) -> int:
    Store(job.stored).fetch(name, tmp_path / name)
    return load_checkpoint(tmp_path / name)["step"]


def killed_after_its_first_checkpoint(job: TrialJob, tmp_path: Path) -> None:
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    process = subprocess.Popen([sys.executable, "-c", UNTIL_KILLED, str(tmp_path / "job")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: Store(job.stored).exists("last.pt"))
    finally:
        process.kill()
        process.wait()


def assert_equal(job: TrialJob, checkpoint: Path, whole: TrialJob) -> None:
    assert read(job).info.status == "FINISHED"
    assert history(job) == history(whole)
    weights = [load_checkpoint(file)["objective"] for file in (checkpoint, Path(whole.checkpoint))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_killed_trial_goes_on_at_another_node_with_the_same_digits(
    at_s3: TrialJob, whole: TrialJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    killed_after_its_first_checkpoint(at_s3, tmp_path)
    cache = on_another_node(monkeypatch)
    assert [progress.step for progress in run_trial(at_s3)] == [8, 12]
    folder = cache / TRIALS / at_s3.key
    assert f"Training goes on from {folder}/stored-last.pt, step 6" in capfd.readouterr().err
    assert_equal(at_s3, folder / "last.pt", whole)
    assert [stored_step(at_s3, name, tmp_path) for name in ("last.pt", "previous.pt")] == [12, 6]
    assert (cache / "data" / Path(at_s3.data_folder).name / "train_a.npy").is_file()


def test_a_damaged_checkpoint_at_the_address_is_set_aside_and_the_one_before_serves(
    at_s3: TrialJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for progress in run_trial(at_s3):
        if progress.step >= 6:
            break
    store = Store(at_s3.stored)
    store.copy("last.pt", "previous.pt")
    content = bytearray(store.read("last.pt"))
    content[len(content) // 2] ^= 1
    store.write("last.pt", bytes(content))
    cache = on_another_node(monkeypatch)
    assert [progress.step for progress in run_trial(at_s3)] == [8, 12]
    assert "stored-last.pt is damaged" in capfd.readouterr().err
    folder = cache / TRIALS / at_s3.key
    assert (folder / "stored-last.pt.unusable").is_file()
    assert read(at_s3).info.status == "FINISHED"
    # The damaged one has not replaced the one before.
    assert [stored_step(at_s3, name, tmp_path) for name in ("last.pt", "previous.pt")] == [12, 6]


def test_training_goes_on_while_the_store_is_away_and_ends_with_all_stored(
    at_s3: TrialJob,
    whole: TrialJob,
    s3_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from s3_server import Proxy, use

    proxy = Proxy(s3_port)
    use(monkeypatch, proxy.port)
    steps: list[int] = []
    for progress in run_trial(at_s3):
        steps.append(progress.step)
        if progress.step == 4:
            proxy.go_away()
        if progress.step == 12:  # it has trained to its end without the store
            assert nothing_is_stored(at_s3, s3_port, monkeypatch)
            use(monkeypatch, proxy.port)
            threading.Timer(1.0, proxy.come_back).start()
    assert steps[-1] == 12
    said = capfd.readouterr().err
    assert "the store does not answer" in said and "answers again" in said
    assert_equal(at_s3, Path(at_s3.checkpoint), whole)
    assert stored_step(at_s3, "last.pt", tmp_path) == 12
    proxy.go_away()


def nothing_is_stored(job: TrialJob, port: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    from s3_server import use

    use(monkeypatch, port)
    return "last.pt" not in Store(job.stored).objects()


def test_a_trial_is_not_done_before_its_last_checkpoint_is_stored(
    at_s3: TrialJob, s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3_server import Proxy, use

    monkeypatch.setattr(stored_trial_module, "MOST_SECONDS_AT_END", 0.5)
    proxy = Proxy(s3_port)
    use(monkeypatch, proxy.port)

    def train() -> Iterator[int]:
        for progress in run_trial(at_s3):
            if progress.step == 4:
                proxy.go_away()
            yield progress.step

    with pytest.raises(StoreError, match="the last checkpoint is not stored yet") as raised:
        list(train())
    assert is_storage_fault(raised.value)
    run = read(at_s3)
    assert run.info.status == "RUNNING" and "not stored yet" in run.data.tags["error"]

    proxy.come_back()
    assert list(run_trial(at_s3)) == []
    assert read(at_s3).info.status == "FINISHED"
    assert stored_step(at_s3, "last.pt", tmp_path) == 12
    proxy.go_away()


def test_a_request_to_stop_at_the_address_ends_the_trial(at_s3: TrialJob, tmp_path: Path) -> None:
    training = run_trial(at_s3, tell_every=0.0)
    next(training)
    request_stop(tmp_path / "another-machine", at_s3.stored)
    trials, _, key = at_s3.stored.rpartition("/")
    assert stops_at(trials) == {key}
    with pytest.raises(StopRequestedError, match="Saved at step"):
        for _ in training:
            time.sleep(0.1)
    assert Store(at_s3.stored).exists("last.pt")
    with pytest.raises(StopRequestedError, match="Not started"):
        list(run_trial(at_s3))


def test_records_and_output_of_a_lost_node_are_not_lost(at_s3: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = Path(at_s3.checkpoint).parent, Store(at_s3.stored)
    entries = [["metric", {"key": "eval/fd", "value": value, "timestamp": 1, "step": 5}] for value in (7.0, 8.0)]
    journals = [json.dumps({"store": at_s3.tracking_uri, "run": at_s3.run_id, "entries": [one]}) for one in entries]
    with kept_at(at_s3.stored, folder):
        folder.mkdir(parents=True)
        (folder / JOURNAL).write_text(journals[0])
        (folder / "output.txt").write_text("a warning\n")
    assert store.read_sealed(JOURNAL).decode() == journals[0]
    on_another_node(monkeypatch)
    other = at_this_node(at_s3)
    folder = Path(other.checkpoint).parent
    folder.mkdir(parents=True)
    (folder / "output.txt").touch()  # of the process that starts now
    with kept_at(other.stored, folder):
        assert (folder / "output.txt").read_text() == "a warning\n"
        assert json.loads((folder / JOURNAL).read_text())["entries"] == entries[:1]
        (folder / JOURNAL).unlink()  # MLflow has got all
    assert not store.exists(JOURNAL)

    store.write_sealed(JOURNAL, journals[1].encode())  # a third node, which is lost too
    assert send_waiting_records(at_s3.config.paths, at_s3.tracking_uri) == 1
    assert history(at_s3)["eval/fd"] == [(5, 8.0)]
    assert not store.exists(JOURNAL)
    assert send_waiting_records(at_s3.config.paths, at_s3.tracking_uri) == 0


def test_a_journal_of_two_nodes_has_each_entry_once() -> None:
    def journal(*entries: str, run: str = "1") -> bytes:
        return json.dumps({"store": "s", "run": run, "entries": [["tags", {"tag": text}] for text in entries]}).encode()

    assert merged_journals(b"", journal("b")) == journal("b")
    assert merged_journals(journal("a", "b"), journal("b", "c")) == journal("a", "b", "c")
    assert merged_journals(journal("a"), journal("b", run="2")) == journal("b", run="2")


def test_commands_find_a_checkpoint_at_the_address(
    at_s3: TrialJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    list(run_trial(at_s3))
    on_another_node(monkeypatch)
    place = [f"paths.trials={at_s3.config.paths.trials}"]
    found = find_checkpoint(at_s3.key[:6], place)
    assert found.parent.name == at_s3.key and load_checkpoint(found)["step"] == 12
    assert find_checkpoint(at_s3.run_id, place) == found
    with pytest.raises(UserError, match=f"no such trial in {at_s3.config.paths.trials}/"):
        find_checkpoint("fffff", place)
    Store(at_s3.stored).write("last.pt", b"damaged")
    find_checkpoint(at_s3.key, place)
    assert load_checkpoint(found.with_name("previous.pt"))["step"] == 6
