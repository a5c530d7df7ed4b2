"""Commands with trials and results at a real S3 server: the smallest sweep, and what stops it before it trains."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from mini_sweep import SWEEP

from pipeline.__main__ import main
from pipeline.api import read_scores, read_trials
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[3]
ENDED_AFTER_SECONDS = 10.0


@pytest.fixture
def mini(project: Path) -> Path:
    (project / "sweeps/mini.yaml").write_text(SWEEP)
    return project


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipeline", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The error of a sweep that does not begin. Imports are not counted, since tests have done them."""
    started = time.monotonic()
    assert main(["sweep", "mini", "compute.device=cpu", *overrides]) == 2
    assert time.monotonic() - started < ENDED_AFTER_SECONDS
    assert not Path("mlartifacts").exists() and not list(Path().glob("**/last.pt"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "of-no-account" not in line
    return line


@pytest.mark.usefixtures("mini")
def test_a_full_store_stops_a_sweep_before_any_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from s3_server import answering, use

    with answering(507, "InsufficientStorage") as port:
        place = f"{use(monkeypatch, port)}/trials"
        assert f"paths.trials={place}: the store is full" in refused(capsys, f"paths.trials={place}")


@pytest.mark.slow
@pytest.mark.usefixtures("mini")
def test_an_address_that_does_not_work_stops_a_sweep_before_any_trial(
    s3: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from s3_server import use, use_address
    from servers import silence

    other = "s3://another-bucket/trials"
    assert f"paths.trials={other}: there is no such bucket" in refused(capsys, f"paths.trials={other}")
    use_address(monkeypatch, "http://127.0.0.1:9")
    assert f"paths.results={s3}: the store does not answer" in refused(capsys, f"paths.results={s3}")
    with silence() as port:
        use(monkeypatch, port)
        assert "the store does not answer" in refused(capsys, f"paths.trials={s3}")


@pytest.mark.cluster
@pytest.mark.usefixtures("drawn")
def test_a_sweep_at_an_address_has_the_scores_of_one_in_folders(
    mini: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"paths.trials={s3}/trials", f"paths.results={s3}/results"]
    apart = f"sqlite:///{mini}/apart.db"
    for given in ([f"tracking.uri={apart}", "paths.trials=here", "paths.results=results_here"], places):
        swept = run("sweep", "mini", "compute.device=cpu", *given)
        assert swept.returncode == 0, swept.stderr
    assert f"Report: {s3}/results/mini/stripes/index.html" in swept.stdout
    assert not (mini / "trials").exists() and not (mini / "results").exists()
    pd.testing.assert_frame_equal(read_scores("mini"), read_scores("mini", store=apart))
    (key,) = read_trials("mini")["key"]

    objects = Store(s3).objects()
    assert {f"trials/{key}/last.pt", f"trials/{key}/output.txt", "results/index.html"} <= objects.keys()
    assert any(name.startswith("trials/.data/") and name.endswith("/manifest.json") for name in objects)
    written = {str(file.relative_to(mini / "results_here")) for file in (mini / "results_here").rglob("*.*")}
    assert {f"results/{name}" for name in written} == {name for name in objects if name.startswith("results/")}

    assert main(["translate", key[:6], str(ROOT / "docs/pictures/mlflow-rows.png"), "translated", places[0]]) == 0
    assert main(["status", "mini", *places]) == 0 and main(["plan", "mini", "compute.device=cpu", *places]) == 0
    assert main(["evaluate", key[:6], places[0]]) == 0 and main(["export", key[:6], "exported", places[0]]) == 0
    assert list(Path("exported").rglob("*net_G.pth"))
    assert main(["stop", "mini", "CUT", *places]) == 0
    main(["doctor", "compute.device=cpu", *places])
    assert "paths.trials: the address answers" in capsys.readouterr().out
    assert main(["clean", *places]) == 0
    assert f"paths.trials={s3}/trials is not shown and stays" in capsys.readouterr().out
    assert main(["drop", "mini", "CUT", "--yes", "compute.device=cpu", *places]) == 0
    assert not [name for name in Store(s3).objects() if key in name]
