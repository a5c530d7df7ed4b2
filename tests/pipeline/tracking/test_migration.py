"""just migrate: what is in a store is in the other one too, once, also after a copy that was interrupted."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filled_store import fill
from store_server import store_server

from analysis.store.mlflow_client import MlflowClient
from analysis.store.open_store import open_store
from analysis.store.stored_runs import StoredRun
from pipeline.__main__ import main
from pipeline.tracking.store_client import StoreClient
from pipeline.tracking.ui_views import saved_views, shared_views

OF_COPY = ("copied_from", "copied_state")


@pytest.fixture
def stores(tmp_path: Path, template_store: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A filled store with saved views, values that are not finite, and what was deleted; and an empty store."""
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        shutil.copy(template_store, folder / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    source = fill(tmp_path)
    client = MlflowClient(source)
    stripes = client.get_experiment_by_name("stripes")
    assert stripes is not None
    for tag, view in saved_views("hand_made", [], "fd_small_conv", 1).items():
        client.set_experiment_tag(stripes.experiment_id, tag, view)
    running = client.create_run(stripes.experiment_id, start_time=77, run_name="still running").info.run_id
    for step, value in enumerate((1.5, math.nan, math.inf)):
        client.log_metric(running, "train/loss", value, timestamp=1000 + step, step=step)
    for name in range(120):
        client.set_tag(running, f"tag{name}", "x" * 4000)
        client.log_param(running, f"param{name}", str(name))
    client.delete_run(client.create_run(stripes.experiment_id, run_name="deleted").info.run_id)
    client.delete_experiment(client.create_experiment("deleted"))
    return source, f"sqlite:///{tmp_path / 'other/mlflow.db'}"


def content(uri: str) -> dict[str, Any]:
    """All that a store holds, but for the ids of runs and what a copy adds."""
    store, client = open_store(uri), MlflowClient(uri)
    return {
        name: (
            {tag: value for tag, value in store.experiment_tags(number).items() if not tag.startswith("mlflow.exp")},
            [of_run(store, client, run) for run in store.runs([number], {})],
        )
        for number, name in sorted(store.experiments().items(), key=lambda found: found[1])
        if name not in ("template", "Default")
    }


def of_run(store: Any, client: MlflowClient, run: StoredRun) -> Any:
    logged = {name: store.histories([run.run_id], name)[run.run_id] for name in sorted(run.metrics)}
    tags = {tag: value for tag, value in run.tags.items() if tag not in OF_COPY}
    info = client.get_run(run.run_id).info
    files = dict(sorted(all_files(store, client, run.run_id)))
    # A copy has the same time of its end, and none if it runs.
    about = (info.run_name, info.user_id, run.status, run.start_time, info.end_time)
    return about, dict(run.params), tags, repr(logged), files


def all_files(store: Any, client: MlflowClient, run_id: str, folder: str = "") -> Iterator[tuple[str, bytes]]:
    for file in client.list_artifacts(run_id, folder or None):
        if file.is_dir:
            yield from all_files(store, client, run_id, file.path)
        else:
            yield file.path, store.artifact(run_id, file.path)


def run_ids(uri: str) -> list[str]:
    store = open_store(uri)
    return sorted(run.run_id for run in store.runs(list(store.experiments()), {}))


def test_a_copy_holds_all_that_the_store_holds_and_a_second_one_changes_nothing(
    stores: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = stores
    before = content(source)
    assert main(["migrate", source, target]) == 0
    said = capsys.readouterr().out
    assert "stripes: 10 runs copied." in said
    assert "hand_made on stripes: 8 trials, 15 evaluations, equal in both stores" in said
    assert content(target) == before == content(source)
    (_, runs) = before["stripes"]
    assert {about[2] for about, *_ in runs} == {"FINISHED", "FAILED", "KILLED", "RUNNING"}
    assert any(files for *_, files in runs)
    store = open_store(target)
    stripes = next(number for number, name in store.experiments().items() if name == "stripes")
    assert shared_views(store.experiment_tags(stripes)) == ["hand_made"]
    first = run_ids(target)
    assert main(["migrate", source, target]) == 0
    assert "stripes: 0 runs copied. 10 had been copied before." in capsys.readouterr().out
    assert run_ids(target) == first and content(target) == before


@pytest.mark.parametrize("method", ["create_run", "log_values", "log_artifacts", "set_terminated"])
def test_a_copy_that_was_interrupted_is_finished_by_the_same_command(
    stores: tuple[str, str], method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = stores
    before, calls, asked = content(source), 0, getattr(StoreClient, method)

    def interrupted(client: StoreClient, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = asked(client, *arguments, **options)
        if calls == 4:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(StoreClient, method, interrupted)
        assert main(["migrate", source, target]) == 130
    assert "Run the same command to resume" in capsys.readouterr().err
    # What is half there is no trial yet.
    half = {run.run_id for run in open_store(target).runs(["2"], {}) if "copied_state" not in run.tags}
    assert half and not [run for run in open_store(target).runs(["2"], {"kind": None}) if run.run_id in half]
    assert main(["migrate", source, target]) == 0
    assert content(target) == before
    assert "equal in both stores" in capsys.readouterr().out


def test_what_was_logged_since_is_copied_too(stores: tuple[str, str]) -> None:
    source, target = stores
    assert main(["migrate", source, target]) == 0
    copied = run_ids(target)
    client = MlflowClient(source)
    stripes = client.get_experiment_by_name("stripes")
    assert stripes is not None
    (running,) = client.search_runs([stripes.experiment_id], "attributes.run_name = 'still running'")
    client.log_metric(running.info.run_id, "train/loss", 7.0, step=9)
    client.set_terminated(running.info.run_id, "FINISHED", 99)
    assert main(["migrate", source, target]) == 0
    assert content(target) == content(source) and run_ids(target) == copied


def test_a_copy_that_is_copied_back_is_the_run_that_it_was(
    stores: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = stores
    before, ids = content(source), run_ids(source)
    assert main(["migrate", source, target]) == 0
    assert main(["migrate", target, source]) == 0
    assert run_ids(source) == ids and content(source) == before


def test_a_sweep_whose_tables_differ_is_named(stores: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    source, target = stores
    assert main(["migrate", source, target]) == 0
    client = MlflowClient(target)
    stripes = client.get_experiment_by_name("stripes")
    assert stripes is not None
    changed = client.search_runs([stripes.experiment_id], "tags.trial_key = 'stripes-external-1'")[0]
    client.log_metric(changed.info.run_id, "last/fd_small_conv", 1.0, step=9)
    capsys.readouterr()
    assert main(["migrate", source, target]) == 1
    assert "hand_made on stripes: 8 trials, 15 evaluations, DIFFERS in last/fd_small_conv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "target", "fact"),
    [
        ("sqlite:///none.db", "sqlite:///other.db", "no such database"),
        ("mlflow.db", "sqlite:///other.db", "FROM is mlflow.db: write sqlite:///mlflow.db"),
        ("sqlite:///mlflow.db", "postgresql://host/ml", "TO is postgresql://host/ml: write"),
        ("sqlite:///mlflow.db", "http://me:s3cret@127.0.0.1:9", "MLFLOW_TRACKING_PASSWORD"),
        ("sqlite:///mlflow.db", "http://127.0.0.1:9/", "http://127.0.0.1:9: no server answers"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db", "cannot be copied into itself"),
    ],
)
def test_a_store_that_cannot_be_is_named_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], source: str, target: str, fact: str
) -> None:
    assert main(["migrate", source, target]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fact in line and "s3cret" not in line


@pytest.mark.slow
def test_a_server_takes_a_store_over(
    stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = stores
    before = content(source)
    (tmp_path / "served").mkdir()
    with store_server(tmp_path / "served") as port:
        uri = f"http://127.0.0.1:{port}"
        for known in (0, 10):
            assert main(["migrate", source, uri]) == 0
            assert f"stripes: {10 - known} runs copied." in capsys.readouterr().out
            assert content(uri) == before
