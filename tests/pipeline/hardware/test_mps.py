"""Starting and ending NVIDIA's daemon, with a script in its place. No GPU is needed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import sweep as conduct
from pipeline.config.compute import ComputeConfig
from pipeline.config.sweep_file import load_sweep
from pipeline.errors import UserError
from pipeline.hardware import mps
from pipeline.hardware.device import Machine
from pipeline.hardware.mps import expects_mps, mps_available, mps_daemon, mps_for_packed_trials, mps_runs
from pipeline.orchestration.planner import plan_sweep

# Starts a process that lives until 'quit', and writes its process number to the file of NVIDIA's daemon.
CONTROL = """#!/bin/sh
echo "${{1:-commands}} gpus=${{CUDA_VISIBLE_DEVICES-all}}" >> {calls}
if [ "$1" = -d ]; then
  {start}
  sleep 600 > /dev/null 2>&1 &
  echo $! > "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid"
else
  read word
  echo "$word" >> {calls}
  if [ "$word" = quit ] && {quits}; then
    kill $(cat "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid")
    rm "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid"
  fi
fi
"""
WHOLE_LIFE = ["-d gpus=all", "commands gpus=all", "quit"]


@pytest.fixture(autouse=True)
def no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which CUDA would find no daemon, whatever runs on this machine."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "no-daemon"))
    monkeypatch.delenv("CUDA_MPS_LOG_DIRECTORY", raising=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], list[str]]]:
    """Put a command that stands for NVIDIA's on the PATH; gives how to ask what it was called with."""

    def put(start: str = ":", *, quits: bool = True) -> Callable[[], list[str]]:
        calls = tmp_path / "calls.txt"
        control = tmp_path / "bin/nvidia-cuda-mps-control"
        control.parent.mkdir()
        control.write_text(CONTROL.format(calls=calls, start=start, quits=str(quits).lower()))
        control.chmod(0o755)
        monkeypatch.setenv("PATH", f"{control.parent}:{os.environ['PATH']}")
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    return put


def pid_in(pipes: str) -> int:
    return int((Path(pipes) / mps.PID_FILE).read_text())


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid: int) -> bool:
    """Whether the process ends within ten seconds. A signal takes a moment to end it."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def test_a_daemon_lives_as_long_as_the_body_and_its_folder_too(install: Callable[..., Callable[[], list[str]]]) -> None:
    calls = install()
    with mps_daemon() as variables:
        assert set(variables) == {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"}
        pipes = variables["CUDA_MPS_PIPE_DIRECTORY"]
        folder, pid = Path(pipes).parent, pid_in(pipes)
        assert lives(pid)
        assert len(f"{pipes}/control_privileged") < 108  # the longest path of a Unix socket
        assert folder.stat().st_mode & 0o077 == 0
    assert ends(pid) and not folder.exists()
    assert calls() == WHOLE_LIFE


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UserError])
def test_a_daemon_ends_where_the_body_raises(
    install: Callable[..., Callable[[], list[str]]], error: type[BaseException]
) -> None:
    calls = install()
    seen: dict[str, int] = {}
    with pytest.raises(error), mps_daemon() as variables:
        seen[variables["CUDA_MPS_PIPE_DIRECTORY"]] = pid_in(variables["CUDA_MPS_PIPE_DIRECTORY"])
        raise error("the body")
    ((pipes, pid),) = seen.items()
    assert ends(pid) and not Path(pipes).parent.exists()
    assert calls() == WHOLE_LIFE


WAITING = """
import signal
from pipeline.hardware.mps import mps_daemon
with mps_daemon() as variables:
    print(variables["CUDA_MPS_PIPE_DIRECTORY"], flush=True)
    signal.pause()
"""


def test_ctrl_c_ends_the_daemon_too(install: Callable[..., Callable[[], list[str]]]) -> None:
    calls = install()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as waiting:
        assert waiting.stdout
        pipes = waiting.stdout.readline().strip()
        pid = pid_in(pipes)
        assert lives(pid)
        waiting.send_signal(signal.SIGINT)
        waiting.wait(timeout=60)
    assert ends(pid) and not Path(pipes).parent.exists()
    assert calls() == WHOLE_LIFE


def test_a_daemon_that_does_not_quit_is_killed(
    install: Callable[..., Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(quits=False)
    with mps_daemon() as variables:
        pid = pid_in(variables["CUDA_MPS_PIPE_DIRECTORY"])
        monkeypatch.setattr(mps, "LIMIT_SECONDS", 0.5)
    assert ends(pid)


def test_a_daemon_that_does_not_start_is_an_error_that_says_why(
    install: Callable[..., Callable[[], list[str]]],
) -> None:
    install(start="echo 'An instance of this daemon is already running'; exit 1")
    with pytest.raises(UserError) as caught, mps_daemon():
        pass
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert "nvidia-cuda-mps-control -d did not start" in said and "compute.mps=off" in said
    assert "(An instance of this daemon is already running)" in said


def test_the_daemon_numbers_all_gpus_of_the_machine(
    install: Callable[..., Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a trial to which Ray gives GPU 1 would find none."""
    calls = install()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with mps_daemon():
        pass
    assert calls() == WHOLE_LIFE


def test_a_folder_without_a_living_daemon_is_no_daemon(
    install: Callable[..., Callable[[], list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    pipes = tmp_path / "stale"
    pipes.mkdir()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipes))
    assert not mps_runs()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (pipes / mps.PID_FILE).write_text(str(ended.pid))
    assert not mps_runs()
    (pipes / mps.PID_FILE).write_text("no number")
    assert not mps_runs()
    with mps_daemon() as variables:
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", variables["CUDA_MPS_PIPE_DIRECTORY"])
        assert mps_runs()
    assert not mps_runs()


def test_it_is_said_in_one_line_whether_trials_have_mps(
    install: Callable[..., Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("PATH", "/nowhere")
    with mps_for_packed_trials(said.append):
        assert not mps_runs()
    monkeypatch.undo()
    calls = install()
    with mps_for_packed_trials(said.append):
        assert mps_runs()
        with mps_for_packed_trials(said.append):
            pass
        assert mps_runs()
    assert not mps_runs()
    facts = ["nvidia-cuda-mps-control is not installed", "started an MPS daemon", "an MPS daemon is running already"]
    assert [fact in line for fact, line in zip(facts, said, strict=True)] == [True] * 3
    assert calls() == WHOLE_LIFE


def test_a_plan_counts_on_mps_where_a_sweep_would_have_it(install: Callable[..., Callable[[], list[str]]]) -> None:
    auto, off = ComputeConfig(mps="auto"), ComputeConfig()
    assert not mps_available() and not expects_mps(auto, "cuda", packed=True)
    install()
    assert expects_mps(auto, "cuda", packed=True)
    assert not expects_mps(auto, "cuda", packed=False)
    assert not expects_mps(auto, "cpu", packed=True)
    assert not expects_mps(off, "cuda", packed=True)


SWEEP = """
name: pair
question: Do two trials share a GPU?
base: [task=stripes, data.train_count=6, data.test_count=6, data.size=32, model.generator.channels=4,
       model.discriminator.channels=4, train.constant_epochs=1, train.decay_epochs=0, compute.device=cpu]
seeds: [0, 1]
rows:
  - {row: internal, set: {}}
"""


# A sweep on a GPU that is promised and not there, so that its trials train on the CPU. In a process of its own, since
# what forks trials must come before anything that this one has computed.
TRAIN_LEFT = """
import os, sys
from dataclasses import replace
from rich.console import Console
from pipeline.cli import sweep as conduct
from pipeline.hardware.device import Machine
from pipeline.notify.news import NOBODY
from pipeline.orchestration.planner import plan_sweep
from pipeline.config.sweep_file import load_sweep
from pipeline.trial.server import trial_server

with trial_server() as server:
    planned = plan_sweep(load_sweep("pair"), [sys.argv[1]])
    planned = replace(planned, machine=Machine("cuda", "promised", cores=2, gpus=1, memory_gb=16.0))
    before = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
    conduct._train(planned, Console(width=160), server, NOBODY, retry_failed=False)
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == before
    for record in planned.tracker.find_trials().values():
        print("record", record.status, record.tags["gpu_part"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "expected"), [("compute.mps=auto", WHOLE_LIFE), ("compute.mps=off", [])])
def test_a_sweep_whose_trials_share_a_gpu_has_a_daemon_of_its_own_where_it_is_asked_for(
    project: Path, install: Callable[..., Callable[[], list[str]]], setting: str, expected: list[str]
) -> None:
    calls = install()
    (project / "sweeps/pair.yaml").write_text(SWEEP)
    ran = subprocess.run(
        [sys.executable, "-c", TRAIN_LEFT, setting], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert said.count("compute.mps=auto: started an MPS daemon for this sweep.") == len(expected[:1])
    assert [line for line in said if line.startswith("record")] == ["record FINISHED 0.5"] * 2
    assert calls() == expected


def test_only_trials_that_share_a_gpu_need_the_daemon(project: Path) -> None:
    (project / "sweeps/pair.yaml").write_text(SWEEP)
    planned = plan_sweep(load_sweep("pair"), [])
    gpus = Machine("cuda", "promised", cores=2, gpus=2, memory_gb=16.0)
    assert not conduct._packs(conduct.estimate_requirements(replace(planned, machine=gpus)))
    assert conduct._packs(conduct.estimate_requirements(replace(planned, machine=replace(gpus, gpus=1))))
