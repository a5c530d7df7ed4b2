"""just clean: what it shows, what it asks before it removes something, and what it never removes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.__main__ import main as pipeline
from pipeline.disk import usage
from pipeline.locks import file_lock
from pipeline.processes import this_host
from pipeline.trial.lock import claimed

# Of each kind one trial: the tags of its run, None if it has no run.
TRIALS = {
    "a" * 16: {"row.one": "CUT", "now.one": "yes"},
    "b" * 16: {"row.one": "CUT", "now.one": "yes", "row.two": "same", "now.two": "yes"},
    "c" * 16: {"row.one": "CUT", "now.one": "no"},
    "d" * 16: {"row.single": "single", "now.single": "no"},
    "e" * 16: {"row.one": "CUT", "now.one": "yes", "result_version": "0"},
    "f" * 16: None,
}
KINDS = {
    "sweep:one": "a" * 16,
    "sweep:one sweep:two": "b" * 16,
    "unused-trials": "c" * 16,
    "single-trials": "d" * 16,
    "old-trials": "e" * 16,
    "unrecorded-trials": "f" * 16,
}

Show = Callable[[], dict[str, dict[str, object]]]


@pytest.fixture
def trials(project: Path) -> Path:
    """The folders of the trials, and a store that has their runs."""
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.create_experiment("stripes", (project / "mlartifacts/stripes").as_uri())
    for key, tags in TRIALS.items():
        (project / "trials" / key).mkdir(parents=True)
        (project / "trials" / key / "last.pt").write_bytes(bytes(100_000))
        if tags is not None:
            run = client.create_run(experiment, tags={"kind": "trial", "trial_key": key, **tags})
            client.set_terminated(run.info.run_id, "RUNNING" if key[0] == "c" else "FINISHED")
    return project / "trials"


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Show:
    def show() -> dict[str, dict[str, object]]:
        capsys.readouterr()
        assert pipeline(["clean", "--json"]) == 0
        return {part["name"] or part["content"]: part for part in json.loads(capsys.readouterr().out)}

    return show


def there(trials: Path) -> set[str]:
    return {path.name[0] for path in trials.iterdir() if path.name != ".locks"}


def test_every_trial_is_of_the_kind_that_its_records_say(trials: Path, shown: Show) -> None:
    found = {name: part["paths"] for name, part in shown().items() if name in KINDS}
    assert found == {name: [f"trials/{key}"] for name, key in KINDS.items()}
    assert shown()["unused-trials"]["note"] == "1 not finished; once in one"
    assert all(100_000 <= int(str(shown()[name]["bytes"])) < 120_000 for name in KINDS)
    assert there(trials) == set("abcdef")


def test_a_trial_is_removed_only_with_its_kind_and_its_record_stays(trials: Path, shown: Show) -> None:
    left = set("abcdef")
    for name in ("unused-trials", "single-trials", "old-trials", "unrecorded-trials", "sweep:one"):
        assert pipeline(["clean", name, "--yes"]) == 0
        left -= {KINDS[name][0]}
        assert there(trials) == left
    # Another sweep has it, too.
    assert left == {"b"}
    assert pipeline(["clean", "sweep:one", "sweep:two", "--yes"]) == 0
    assert there(trials) == set()
    client = MlflowClient(f"sqlite:///{trials.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None and len(client.search_runs([experiment.experiment_id])) == 5
    assert shown()["records in MLflow"]["note"] == "kept"


def test_the_question_names_each_sweep_that_loses_checkpoints(
    trials: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert pipeline(["clean", "sweep:one", "sweep:two", "old-trials"]) == 1
    said = capsys.readouterr().out
    assert "one: 3 trials can no longer be translated, evaluated or resumed. Its tables stay." in said
    assert "two: 1 trial can no longer be" in said and "Nothing was removed." in said
    assert there(trials) == set("abcdef")
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert pipeline(["clean", "unused-trials"]) == 0
    assert "can no longer" not in capsys.readouterr().out
    assert there(trials) == set("abdef")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clean", "unused-trials"], "Pass --yes to confirm"),
        (["clean", "unused-trial"], "did you mean unused-trials"),
        (["clean", "sweep:three", "--yes"], "nothing is called 'sweep:three'; did you mean"),
        (["clean", "unused-trials", "--json"], "--json only shows"),
        (["clean", "paths.trails=x"], "no field is called 'paths.trails'"),
    ],
)
def test_what_is_not_understood_or_not_confirmed_removes_nothing(
    trials: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert pipeline(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert there(trials) == set("abcdef")


def test_a_running_trial_and_one_with_unsent_records_are_left(trials: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trials / KINDS["single-trials"] / "unsent.json").write_text("{}")
    with claimed(trials / KINDS["unused-trials"]):
        assert pipeline(["clean", "unused-trials", "single-trials", "old-trials", "--yes"]) == 0
    said = capsys.readouterr().out
    assert f"Trial {KINDS['unused-trials']} is running in another process" in said
    assert f"trials/{KINDS['single-trials']}: holds records that MLflow has not got yet" in said
    assert there(trials) == set("abcdf")


def test_links_and_what_is_not_the_projects_are_listed_and_left(trials: Path, tmp_path: Path, shown: Show) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "last.pt").touch()
    (trials / ("0" * 16)).symlink_to(elsewhere)
    (trials / "notes").mkdir()
    (trials.parent / ".cache/mine").mkdir()
    (trials.parent / "logs").mkdir()
    (trials.parent / "logs/list.txt").touch()
    (trials.parent / "results/mine").mkdir(parents=True)
    (trials / KINDS["unused-trials"] / "link").symlink_to(elsewhere)
    links = {".cache/costs", ".cache/rates"}
    others = {f"trials/{'0' * 16}", "trials/notes", ".cache/mine", *links, "logs/list.txt", "results/mine"}
    assert set(map(str, shown()["other files in these folders"]["paths"])) == others  # type: ignore[call-overload]
    every = [word for name in KINDS for word in name.split()]
    assert pipeline(["clean", *every, "caches", "downloads", "logs", "results", "--yes"]) == 0
    assert all(Path(path).exists() for path in others) and (elsewhere / "last.pt").exists()
    assert there(trials) == {"0", "n"}


@pytest.fixture
def cache(project: Path) -> Path:
    """A cache with two data sets."""
    for name in ("1111", "2222"):
        (project / ".cache/data" / name).mkdir(parents=True)
        np.save(project / ".cache/data" / name / "train_a.npy", np.zeros(1000))
    (project / "logs").mkdir()
    (project / "logs/one-stripes.log").write_text("a line")
    return project / ".cache"


def test_a_cache_that_a_process_reads_or_makes_is_left(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partial = f".3333.{this_host()}-{os.getpid()}-0-0123abcd.partial"
    (cache / "data" / partial).mkdir()
    read = np.load(cache / "data/1111/train_a.npy", mmap_mode="r")
    with file_lock(cache / "data/2222.lock"), file_lock(cache / "data/3333.lock"):
        assert pipeline(["clean", "data-cache", "--yes"]) == 0
    said = capsys.readouterr().out
    assert ".cache/data/1111: a process reads it now" in said and ".cache/data/2222: another process makes it" in said
    assert read.sum() == 0 and "Freed 0.0 MB" in said
    assert {path.name for path in (cache / "data").iterdir() if path.is_dir()} == {"1111", "2222", partial}
    del read
    assert pipeline(["clean", "caches", "--yes"]) == 0
    # The process of the partial folder is dead: this one, of the same id, started at another time.
    assert not [path for path in (cache / "data").iterdir() if path.is_dir()]


def test_nothing_but_trials_is_removed_while_a_sweep_or_trial_runs(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = cache / "ray" / f"{this_host()}-{os.getpid()}"
    sweep.mkdir(parents=True)
    assert pipeline(["clean", "caches", "logs", "--yes"]) == 0
    assert capsys.readouterr().out.count("in use, since a sweep runs") == 2
    # One of another host may run. One whose process is dead has left its folder.
    sweep = sweep.rename(cache / "ray/0123abcd-1")
    assert pipeline(["clean", "caches", "logs", "--yes"]) == 0
    assert capsys.readouterr().out.count("in use, since a sweep runs") == 2
    sweep.rename(cache / "ray" / f"{this_host()}-{2**22 + 1}")
    with claimed(cache.parent / "trials/0123456789abcdef"):
        assert pipeline(["clean", "caches", "logs", "--yes"]) == 0
    assert capsys.readouterr().out.count("in use, since trial 0123456789abcdef is running") == 2
    assert (cache / "data/1111").exists() and (cache.parent / "logs/one-stripes.log").exists()
    assert pipeline(["clean", "caches", "logs", "--yes"]) == 0
    assert not (cache / "data/1111").exists() and not (cache.parent / "logs/one-stripes.log").exists()


def test_networks_that_are_being_compiled_are_left(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("compiled", "matplotlib"):
        (cache / folder / "entry").mkdir(parents=True)
    with file_lock(cache / "compiled/compiling.lock"):
        assert pipeline(["clean", "compile-cache", "font-cache", "--yes"]) == 0
    assert ".cache/compiled/entry: another process makes it now" in capsys.readouterr().out
    assert (cache / "compiled/entry").exists() and list((cache / "matplotlib").iterdir()) == []
    assert pipeline(["clean", "compile-cache", "--yes"]) == 0
    assert [path.name for path in (cache / "compiled").iterdir()] == ["compiling.lock"]


def test_only_reports_that_can_be_written_again_are_removed(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.create_experiment("stripes", (project / "mlartifacts/stripes").as_uri())
    client.create_run(experiment, tags={"kind": "sweep", "sweep": "one"})
    for folder in ("one/stripes", "one/photos", "two/stripes"):
        (project / "results" / folder).mkdir(parents=True)
    assert pipeline(["clean", "results", "--yes"]) == 0
    left = {str(path.relative_to(project / "results")) for path in (project / "results").glob("*/*")}
    assert left == {"one/photos", "two/stripes"}


def test_the_size_is_that_on_disk_and_links_count_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(bytes(1_000_000))
    (tmp_path / "folder/link").symlink_to(tmp_path / "folder")
    assert 1_000_000 <= usage.size_on_disk(tmp_path / "folder") < 1_100_000
    assert usage.size_on_disk(tmp_path / "none") == 0
