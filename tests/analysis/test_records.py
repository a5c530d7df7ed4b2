from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.__main__ import main
from analysis.runs import read_sweep

SWEEP = {"question": "Why?", "overrides": [], "rows": [{"row": "cut", "paper": "", "keys": {"0": "k0", "1": "k1"}}]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two sweeps of one finished trial and one that never ran: 'priced' and, as older ones are, 'unpriced'."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("stripes", (folder / "artifacts").as_uri())
    for name, price in (("priced", {"price_per_hour": 2.5}), ("unpriced", {})):
        sweep = client.create_run(experiment, tags={"kind": "sweep", "sweep": name}).info.run_id
        client.log_dict(sweep, {**SWEEP, **price}, "sweep.json")
    tags = {"kind": "trial", "trial_key": "k0", "extractor": "small-conv", "images_a": "6"}
    trial = client.create_run(experiment, tags=tags).info.run_id
    client.log_metric(trial, "last/fd_small_conv", 10.0)
    client.log_metric(trial, "cost/device_hours", 2.0)
    client.set_terminated(trial, "FINISHED")
    return uri


@pytest.fixture
def here(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tags_are_read_and_are_empty_where_they_are_not_recorded(store: str) -> None:
    runs = read_sweep(store, "priced", "stripes").runs
    assert runs.loc[("cut", 0), ["images_a", "weights", "status"]].to_list() == ["6", "", "FINISHED"]
    assert runs.loc[("cut", 1), ["images_a", "weights", "status"]].to_list() == ["", "", "MISSING"]


def test_price_is_the_records_unless_another_is_given(here: Path) -> None:
    tables = here / "results/priced/stripes/table.md"
    assert main(["tables", "priced"]) == 0
    assert "cost a trial, at 2.5 an hour ↓" in tables.read_text()
    assert "5.00 (n = 1)" in tables.read_text()
    assert main(["tables", "priced", "--price-per-hour", "4"]) == 0
    assert "cost a trial, at 4 an hour ↓" in tables.read_text()
    assert "8.00 (n = 1)" in tables.read_text()


def test_older_sweeps_have_no_price_but_can_be_given_one(here: Path) -> None:
    tables = here / "results/unpriced/stripes/table.md"
    assert main(["tables", "unpriced"]) == 0
    assert "an hour" not in tables.read_text()
    assert main(["tables", "unpriced", "--price-per-hour", "0.5"]) == 0
    assert "cost a trial, at 0.5 an hour ↓" in tables.read_text()


@pytest.mark.parametrize("price", ["0", "-1", "nan", "inf", "cheap"])
def test_what_is_no_price_is_refused_in_one_line(here: Path, capsys: pytest.CaptureFixture[str], price: str) -> None:
    assert main(["tables", "priced", "--price-per-hour", price]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{price!r} is not a finite number above 0" in line
    assert not (here / "results").exists()
