"""`just doctor`: each fault is provoked for real where a machine without a GPU can."""

import http.server
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tape import TapeRecorder
from test_gpus import FACTS, FULL, H100, SLICE, UNAVAILABLE, USED

from pipeline.__main__ import main
from pipeline.checks import machine as checks
from pipeline.checks import selftest
from pipeline.checks import services as service_checks
from pipeline.checks import store as store_health
from pipeline.checks.gpu import gpu_checks
from pipeline.checks.machine import (
    Check,
    check_cores,
    check_disk,
    check_disks,
    check_locks,
    check_writable,
    checkpoint_gb,
    disk_needs,
    folder_checks,
    judge_lock,
    within,
)
from pipeline.checks.services import check_ray, check_tracking, check_weights
from pipeline.checks.store import without_password
from pipeline.cli.doctor import check_share, describe_share
from pipeline.config.compose import compose_config
from pipeline.config.schema import ComputeConfig, Config, MetricConfig
from pipeline.hardware.cgroup import cpu_limit, memory_limit, own_groups
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.metrics.names import PUBLISHED_WEIGHTS
from pipeline.rng import rng_for
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.cuda_graphs import Outcome
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import build_state

CPU = torch.device("cpu")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
SMALL_CONV, INCEPTION = MetricConfig(extractor="small-conv"), MetricConfig()


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of doctor for scripts, and what it says of each check."""
    code = main(["doctor", "--json", *arguments])
    said = json.loads(capsys.readouterr().out)
    return code, {check["check"]: check for check in said["checks"]}


@NO_CUDA
def test_a_machine_that_is_fit_has_no_fault_and_nothing_is_written(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = told(capsys)
    assert code == 0
    assert {check["status"] for check in found.values()} <= {"ok", "note"}
    assert all(set(check) == {"check", "status", "found", "mend"} for check in found.values())
    assert "ablation_negatives on stripes would run" in found["a sweep here"]["found"]
    assert "this task does not need it" in found["Inception's weights"]["found"]
    assert {path.name for path in project.iterdir()} == {".cache", "mlflow.db", "sweeps", "hub"}


@NO_CUDA
def test_a_person_is_told_a_line_for_each_check_and_the_mend(
    project: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "trials").touch()
    arguments = ["compute.device=cuda", "task=horse2zebra", "tracking.uri=http://127.0.0.1:9"]
    assert main(["doctor", *arguments]) == 1
    lines = capsys.readouterr().out.splitlines()
    faults = [line for line in lines if line.startswith("fault ")]
    assert any("CUDA: torch " in line for line in faults)
    assert any("trials is a file, not a folder. Choose another folder with paths.trials=…." in line for line in faults)
    assert any("http://127.0.0.1:9 does not answer (Connection refused). Set tracking.uri" in line for line in faults)
    assert any("cannot be reached" in line and "metric.weights" in line for line in faults)
    assert len(faults) == 4 and lines[-1].endswith("faults: 4")


def test_bad_overrides_are_told_in_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "data.sizes=3"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "data.sizes" in said.err


# Folders, locks, disk


def test_a_folder_that_is_a_file_or_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file is a file, not a folder" in check_writable("paths.trials", tmp_path / "file/inside").found
    refused = check_writable("paths.logs", Path("/proc/logs"))
    assert refused.status == "fault" and "cannot write into /proc/logs" in refused.found
    assert refused.mend == "Choose another folder with paths.logs=…"
    assert check_writable("paths.logs", tmp_path / "a/b").found == f"{tmp_path / 'a/b'} can be made"
    assert not (tmp_path / "a").exists()


def test_a_read_only_file_system_is_a_fault(tmp_path: Path) -> None:
    mounting = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        found = check_writable("paths.trials", tmp_path / "trials")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert found.status == "fault" and "(Read-only file system)" in found.found


def test_two_processes_are_not_given_one_lock(tmp_path: Path) -> None:
    assert check_locks(tmp_path) == Check("file locks", "ok", f"they work in {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filelock._unix.fcntl.flock", lambda *_: None)
    # The second process is asked for a lock that the first one has not.
    found = check_locks(tmp_path)
    assert found.status == "fault" and "two processes got the same lock" in found.found
    assert check_locks(Path("/proc")).status == "fault"
    assert "boom" in judge_lock(tmp_path, 1, "Traceback\nboom", "").found


def test_a_disk_must_have_room_for_what_a_sweep_leaves() -> None:
    assert check_disk(["paths.trials"], 5.0, 4.0).status == "ok"
    short = check_disk(["paths.trials", "paths.cache"], 3.0, 4.0)
    assert short.status == "fault"
    assert short.found == "3.0 GB free for paths.trials, paths.cache, which may take 4.0 GB"


def test_folders_on_one_disk_need_their_room_together(tmp_path: Path) -> None:
    (found,) = check_disks([("paths.trials", tmp_path, 1e9), ("paths.cache", tmp_path, 1.0)])
    assert found.status == "fault" and "for paths.trials, paths.cache" in found.found


@pytest.mark.parametrize("model", ["cut", "cyclegan"])
def test_a_checkpoint_takes_what_is_said_of_it(tiny: Callable[..., Config], tmp_path: Path, model: str) -> None:
    config = tiny(f"model={model}", "data.size=64", "model.generator.channels=16", "model.discriminator.channels=16")
    state = build_state(config, CPU)
    batch = selftest._batch(config, 0)
    StepRunner(state).run(prepare_step(state, batch, rng_for(0, "step", 0)))
    save_checkpoint(tmp_path / "last.pt", state.state_dict())
    assert (tmp_path / "last.pt").stat().st_size / 1e9 == pytest.approx(checkpoint_gb(config), rel=0.1)


def test_the_room_that_is_needed_follows_from_trials_and_images() -> None:
    few, many = (disk_needs(compose_config(["task=horse2zebra"]), trials) for trials in (1, 24))
    assert many["paths.trials"] - few["paths.trials"] == pytest.approx(23 * 0.18, rel=0.05)
    drawn = disk_needs(compose_config([]), 24)
    assert few["paths.cache"] - drawn["paths.cache"] == pytest.approx(2661 * 3 * 286 * 286 / 1e9)


def test_a_model_that_does_not_fit_hides_no_other_check(project: Path) -> None:
    config = replace(compose_config([]), data=replace(compose_config([]).data, size=(30, 30)))
    assert {check.status for check in folder_checks(config)} == {"ok"}
    shared = check_share(config, Machine("cpu", "CPU", 2, 0, 8.0))
    assert shared.status == "note" and "does not fit the images" in shared.found


def test_a_check_that_hangs_or_fails_is_a_fault_in_its_time() -> None:
    never = threading.Event()
    hung = within(0.05, "disk", lambda: Check("disk", "ok", str(never.wait())))
    never.set()
    assert (hung.status, hung.found) == ("fault", "no answer within 0.05 s")
    broken = within(5.0, "disk", lambda: Check("disk", "ok", str(1 / 0)))
    assert broken.status == "fault" and "ZeroDivisionError" in broken.found


# Cores and memory


def test_limits_of_a_container_are_those_of_all_groups_around_it(tmp_path: Path) -> None:
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/elsewhere\n0::/outer/inner\n")
    groups = own_groups(tmp_path, own)
    assert groups == [inner, tmp_path / "outer", tmp_path]
    assert cpu_limit(groups) is None and memory_limit(groups) is None
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "outer/cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("max\n")
    (tmp_path / "outer/memory.max").write_text("8000000000\n")
    assert cpu_limit(groups) == 1.5 and memory_limit(groups) == 8_000_000_000
    # A container with groups of its own sees itself at the root.
    own.write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert cpu_limit(own_groups(tmp_path, own)) == 2.0


def test_fewer_cores_by_time_than_by_number_are_noted() -> None:
    assert check_cores(8, 4, None) == Check("cores", "ok", "4 of 8 cores may be used")
    assert check_cores(8, 4, 4.0).status == "ok"
    limited = check_cores(8, 8, 2.5)
    assert limited.status == "note" and "the time of 2.5" in limited.found and "for 2 whole cores" in limited.mend


def test_a_missing_compiler_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = checks.check_compiler()
    assert (found.status, found.found) == ("note", "there is no no-such-compiler")


# The tracking store


def with_revision(store: Path, revision: str) -> str:
    with closing(sqlite3.connect(store)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
    return f"sqlite:///{store}"


def test_a_store_of_this_mlflow_answers_and_stays_as_it_is(project: Path) -> None:
    before = (project / "mlflow.db").read_bytes()
    found = check_tracking(f"sqlite:///{project / 'mlflow.db'}")
    assert found.status == "ok" and "its schema is that of MLflow" in found.found
    assert (project / "mlflow.db").read_bytes() == before


def test_a_store_that_is_not_there_will_be_created(tmp_path: Path) -> None:
    found = check_tracking(f"sqlite:///{tmp_path / 'new.db'}")
    assert found.status == "ok" and "it will be created" in found.found
    (tmp_path / "empty.db").touch()
    assert "it will be created" in check_tracking(f"sqlite:///{tmp_path / 'empty.db'}").found
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


def test_a_store_of_an_older_mlflow_is_a_fault_with_the_command_that_mends_it(project: Path) -> None:
    scripts = store_health._scripts()
    newest = scripts.get_revision("head")
    assert newest is not None and isinstance(newest.down_revision, str)
    uri = with_revision(project / "mlflow.db", newest.down_revision)
    found = check_tracking(uri)
    assert found.status == "fault" and f"has the schema {newest.down_revision} of an older MLflow" in found.found
    assert found.mend == f"Make a copy of the database first, then run: .venv/bin/mlflow db upgrade {uri}"


def test_a_store_of_a_newer_mlflow_is_a_fault(project: Path) -> None:
    found = check_tracking(with_revision(project / "mlflow.db", "0123456789ab"))
    assert (
        found.status == "fault" and "0123456789ab, which MLflow" in found.found and "Install that MLflow" in found.mend
    )


def test_a_database_of_another_program_is_a_fault(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    assert "a database of another program" in check_tracking(f"sqlite:///{tmp_path / 'other.db'}").found
    (tmp_path / "text.db").write_text("no database, but long enough to be read as one " * 99)
    torn = check_tracking(f"sqlite:///{tmp_path / 'text.db'}")
    assert torn.status == "fault" and "file is not a database" in torn.found


def test_a_store_of_an_unknown_kind_is_a_fault() -> None:
    found = check_tracking("nonsense://me:secret@there")
    assert found.status == "fault" and "secret" not in str(found)
    assert without_password("postgresql://me:secret@there:5432/mlflow") == "postgresql://me:…@there:5432/mlflow"


def test_a_server_that_is_away_or_is_none_of_mlflows_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(Connection refused)" in check_tracking("http://127.0.0.1:9").found
    with website() as port:
        assert check_tracking(f"http://127.0.0.1:{port}").status == "fault"
    monkeypatch.setitem(store_health.REQUEST_LIMITS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with silence() as port:
        assert check_tracking(f"http://127.0.0.1:{port}").status == "fault"
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.slow
def test_a_server_of_mlflow_answers(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{project}/mlflow.db"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(120):
            if check_tracking(f"http://127.0.0.1:{port}").status == "ok":
                break
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(1)
        else:
            pytest.fail("the server never answered")
    finally:
        server.terminate()
        server.wait()


@contextmanager
def website() -> Iterator[int]:
    """A server that answers, and not as MLflow does."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def silence() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


# Weights and Ray


def test_weights_that_are_absent_and_cannot_be_fetched_are_a_fault_of_tasks_that_need_them(offline: Path) -> None:
    needed = check_weights(INCEPTION)
    assert needed.status == "fault" and "cannot be reached" in needed.found and str(offline) in needed.found
    unneeded = check_weights(SMALL_CONV)
    assert unneeded.status == "note" and "this task does not need it" in unneeded.found
    missing = check_weights(replace(INCEPTION, weights=str(offline / "none.pth")))
    assert missing.status == "fault" and "no such file" in missing.found


def test_weights_that_can_be_fetched_are_noted(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Found) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(service_checks, "_url", lambda: f"http://127.0.0.1:{server.server_address[1]}/w.pth")
        found = check_weights(INCEPTION)
        server.shutdown()
    assert found.status == "note" and "the first evaluation downloads it" in found.found


def test_weights_with_a_wrong_hash_are_a_fault(offline: Path) -> None:
    place = offline / f"weights-inception-2015-12-05-{PUBLISHED_WEIGHTS}.pth"
    place.write_bytes(b"half of it")
    for metric in (INCEPTION, SMALL_CONV):
        found = check_weights(metric)
        assert found.status == "fault" and "is damaged" in found.found and "fetch it again" in found.mend
    own = offline / "own.pth"
    own.write_bytes(b"of another training")
    other = check_weights(replace(INCEPTION, weights=str(own)))
    assert other.status == "note" and "is not the published file" in other.found


def test_a_cluster_that_is_away_is_a_fault_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(Connection refused)" in check_ray("127.0.0.1:9").found
    assert "(Connection refused)" in check_ray("ray://127.0.0.1:9").found
    assert "is no address" in check_ray("127.0.0.1:port").found
    assert check_ray("auto").status == "note"


def test_a_port_that_is_none_of_rays_is_a_fault_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_checks, "RAY_SECONDS", 1.0)
    with silence() as port:
        found = check_ray(f"127.0.0.1:{port}")
    assert found.status == "fault" and "does not answer as Ray within 1 s" in found.found


@pytest.mark.slow
def test_a_cluster_of_this_ray_answers() -> None:
    import ray

    from pipeline.orchestration.ray_tune import cluster

    with cluster(1, 0, 1.0):
        found = check_ray(ray.get_runtime_context().gcs_address)
    assert found.status == "ok" and "with this version of Ray" in found.found


# GPUs


def statuses(facts: Any, config: ComputeConfig) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in gpu_checks(facts, config):
        found.setdefault(check.status, []).append(str(check))
    return found


def test_each_gpu_has_a_line_of_what_it_offers() -> None:
    found = statuses(replace(FACTS, gpus=(H100, replace(SLICE, index=1)), mps=True), ComputeConfig())
    assert found["ok"] == [
        "torch: 2.14.1+cu130, built with CUDA 13.0.",
        "NVIDIA driver: 580.65.06, supports CUDA up to 13.0.",
        "GPU 0: NVIDIA H100, 79.0 of 80.0 GB free, no other process uses it, compute capability 9.0, bf16 and TF32.",
        "GPU 1: NVIDIA H100, a MIG slice, 19.5 of 20.0 GB free, no other process uses it, compute capability 9.0, bf16 "
        "and TF32.",
    ]
    assert [line.partition(".")[0] for line in found["note"]] == ["CUDA: GPU 1 is a MIG slice of 20"]
    old = statuses(replace(FACTS, gpus=(replace(USED, capability=(7, 5)),)), ComputeConfig())
    assert "(process 4242 uses 71.0 GB), compute capability 7.5, no native bf16, no TF32." in old["ok"][-1]


def test_a_gpu_that_stops_a_sweep_is_a_fault_unless_the_cpu_is_wanted() -> None:
    full = replace(FACTS, gpus=(FULL,))
    assert "is full" in statuses(full, ComputeConfig())["fault"][0]
    assert "fault" not in statuses(full, ComputeConfig(device="cpu"))
    assert "hides" in statuses(replace(UNAVAILABLE, visible=""), ComputeConfig(device="cuda"))["fault"][0]
    assert "fault" not in statuses(replace(UNAVAILABLE, visible=""), ComputeConfig())


def test_a_share_is_told_in_a_line() -> None:
    gpu, cpu = Machine("cuda", "H100", 16, 2, 79.0), Machine("cpu", "EPYC", 2, 0, 25.0)
    assert describe_share(Share(2, 0.25, 19.0, 8), gpu, 3.2, "stripes") == (
        "ablation_negatives on stripes would run 8 of its 9 trials at once on 2 GPUs (H100), each with 0.25 of a GPU "
        "and 2 cores; a trial needs 3.2 GB"
    )
    assert "2 of its 9 trials at once on the CPU (EPYC), each with 1 core;" in describe_share(
        Share(1, 0.0, 12.0, 2), cpu, 0.8, "stripes"
    )


# The self-test


def test_a_device_that_computes_as_the_cpu_does_passes_the_self_test() -> None:
    recorder = TapeRecorder()
    assert selftest.find_faults(CPU, recorder) == []
    assert len(recorder.tapes) == 1 and recorder.replays == 1


def test_a_recording_that_does_nothing_again_fails_the_self_test() -> None:
    class Idle(TapeRecorder):
        def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
            outcome, _ = super().record(function)
            return outcome, lambda: None

    (fault,) = selftest.find_faults(CPU, Idle())
    assert fault.startswith("CUDA graphs against eager steps: loss ") and "of step 5" in fault


def test_losses_off_by_more_than_rounding_are_told() -> None:
    expected = [{"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 3.0}]
    assert selftest.difference("x", expected, [{"a": 1.0005, "b": 3.0}, {"a": 1.01, "b": 3.0}]) == ""
    off = selftest.difference("x", expected, [{"a": 1.0, "b": 3.1}, {"a": 1.0, "b": 3.0}])
    assert off == "x: loss b of step 1 is 3.1 instead of 3"
    assert "step 2" in selftest.difference("x", expected, [{"a": 1.0, "b": 3.0}, {"a": float("nan"), "b": 3.0}])
    assert selftest.not_finite("bf16", expected) == ""
    assert selftest.not_finite("bf16", [{"a": float("inf")}]) == "bf16: loss a of step 1 is inf"


@pytest.mark.slow
@NO_CUDA
def test_a_self_test_that_crashes_or_hangs_is_a_fault_and_no_crash() -> None:
    (crashed,) = selftest.find_faults_in_child("GPU-none")
    assert crashed.startswith("its process ended with exit code 1 (RuntimeError: ")
    assert selftest.find_faults_in_child("GPU-none", seconds=0.01) == ["no result within 0.01 s"]
