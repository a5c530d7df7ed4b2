"""MLflow's UI in a real browser: it compares runs by parameter and metric, and shows images."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from page_visit import CHROMIUM

from analysis.records.names import member_tag
from pipeline.__main__ import main
from pipeline.tracking.ui_views import saved_views, view_address

pytestmark = pytest.mark.slow

TRIAL = (
    "data.train_count=6", "data.test_count=6", "data.size=32", "model.generator.channels=4",
    "model.discriminator.channels=4", "train.constant_epochs=1", "train.decay_epochs=1", "compute.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two recorded trials of different temperature, and the UI over them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield from _serve(tmp_path_factory.mktemp("ui"), monkeypatch)


def _serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    for temperature in (0.07, 0.31):
        assert main(["train", *TRIAL, f"model.temperature={temperature}"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *store, *address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        if not any("Application startup complete" in line for line in process.stderr):
            pytest.fail("MLflow's server stopped before it was ready")
        # The server would block on a full pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; Debian's package has it")
def test_runs_compare_by_parameter_and_metric_and_pictures_show(server: str, browser: Any) -> None:
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    listed = ",".join(f'"{run.info.run_id}"' for run in runs)
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(f'{server}/#/compare-runs?runs=[{listed}]&experiments=["{experiment.experiment_id}"]')
    # Of the metrics, in their order by name, the page draws only those that are in sight.
    for text in ("Comparing 2 Runs", "model.temperature", "best/fd_small_conv", "0.07", "0.31"):
        page.get_by_text(text).first.wait_for(state="attached", timeout=60_000)

    page.goto(f"{server}/#/experiments/{experiment.experiment_id}/runs/{runs[0].info.run_id}/artifacts/images")
    page.locator("text=grid+step+12").last.click(timeout=60_000)
    # Six test images of 32 x 32 side by side; inputs, outputs and neighbours one above the other.
    drawn = "[...document.images].some(image => image.naturalWidth == 192 && image.naturalHeight == 96)"
    page.wait_for_function(drawn, timeout=60_000)
    page.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; Debian's package has it")
def test_saved_views_show_rows_and_single_trials_without_a_click(server: str, browser: Any) -> None:
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"):
        client.set_tag(run.info.run_id, member_tag("single"), "yes")
    for tag, view in saved_views("single", ["model.temperature"], "fd_small_conv", 12).items():
        client.set_experiment_tag(experiment.experiment_id, tag, view)
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(f"{server}/{view_address(experiment.experiment_id, 'single')}")
    # The means of two trials of one row, in one bar.
    for text in ("Group: single", "last/fd_small_conv", "eval/fd_small_conv", "2 matching runs"):
        page.get_by_text(text).first.wait_for(timeout=60_000)

    page.goto("about:blank")
    page.goto(f"{server}/{view_address(experiment.experiment_id, 'single-trials')}")
    for text in ("Parallel Coordinates", "model.temperature", "cut, seed 0"):
        page.get_by_text(text).first.wait_for(timeout=60_000)
    # Charts are made as they come into sight.
    page.mouse.move(700, 900)
    page.mouse.wheel(0, 3000)
    # Six images side by side, three below one another; the page shrinks them.
    drawn = "[...document.images].filter(image => image.naturalWidth == 2 * image.naturalHeight).length == 2"
    page.wait_for_function(drawn, timeout=60_000)
    page.close()
