"""Nodes of a real cluster that cannot run trials: a line for each says why, before any trial."""

import subprocess
from pathlib import Path

import pytest
import torch
from clusters import RayNodes, ray_nodes
from faults import command

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("drawn")]
ROOT = Path(__file__).parents[2]
FITS, OLD, APART = "127.0.0.3", "127.0.0.4", "127.0.0.5"
OTHER_TORCH = f"it has torch 9.9.9, and this process {torch.__version__.partition('+')[0]}"


def with_other_torch(folder: Path) -> str:
    """A folder for Python's path in which another version of torch seems to be installed."""
    (folder / "torch-9.9.9.dist-info").mkdir(parents=True)
    (folder / "torch-9.9.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    return str(folder)


def planned(nodes: RayNodes, *overrides: str) -> "subprocess.CompletedProcess[str]":
    environment = {**nodes.variables, "MLFLOW_TRACKING_URI": ""}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value) if value else patch.delenv(name, raising=False)
        return subprocess.run(command("plan", "pair", *overrides), capture_output=True, text=True, timeout=120)


def test_nodes_that_do_not_fit_are_left_out_or_stop_the_sweep_and_each_is_named(
    pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ray_nodes(FITS, python_path=str(ROOT)) as nodes:
        nodes.add(OLD, PYTHONPATH=with_other_torch(tmp_path_factory.mktemp("other")))
        nodes.hidden = [pair]
        nodes.add(APART)
        left_out = planned(nodes)
        assert left_out.returncode == 0, left_out.stderr
        lines = left_out.stderr.splitlines()
        assert any(line.startswith(f"node {FITS}: ") for line in lines)
        assert f"node {OLD} is left out: {OTHER_TORCH}" in lines
        not_shared = f"it does not share {pair}/trials. Set paths.trials to a shared folder, or to s3://…"
        assert f"node {APART} is left out: {not_shared}" in lines

        stopped = planned(nodes, "compute.unfit_nodes=stop")
        assert stopped.returncode == 2
        errors = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 2 and all("compute.unfit_nodes=leave_out" in line for line in errors)
        absent = planned(nodes, "compute.gpu=A100")
        assert absent.returncode == 2 and "compute.gpu=A100: no node has such a GPU" in absent.stderr

        nodes.kill(FITS)
        none = planned(nodes)
        assert none.returncode == 2
        assert f"error: node {OLD} cannot run trials: {OTHER_TORCH}" in none.stderr.splitlines()
