"""What deploy/rayjob.yaml runs in a pod that ends: its trials save."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# A pod: processes that see only each other. Its first process trains, and the hook runs beside it.
POD = """
import pathlib, subprocess, sys
import stub_trials
from pipeline.trial import server as module
from pipeline.trial.process import TrialProcess

module.PRELOAD.clear()
with module.trial_server() as server:
    file = pathlib.Path(sys.argv[1])
    process = TrialProcess(server, stub_trials.savable, file)
    while not (file.exists() and file.read_text()):
        pass
    hook = subprocess.run(["sh", "-c", sys.argv[2]])
    print(process.receive().reason, hook.returncode)
"""


def hook() -> str:
    job = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_before_a_pod_ends_its_trials_save_and_the_hook_outlives_them(tmp_path: Path) -> None:
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("no namespace for processes can be made here: it needs unshare, and rights of the superuser")
    assert "sleep 15" in hook()
    # Without the full wait; the trial saves at once.
    command = [*inside, sys.executable, "-c", POD, tmp_path / "file", hook().replace("sleep 15", "sleep 1")]
    path = f"{ROOT}:{ROOT / 'tests/helpers'}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == "saved 0\n", done.stderr
    assert (tmp_path / "file").read_text() == "saved"
