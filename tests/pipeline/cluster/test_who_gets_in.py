"""The cluster that a sweep starts for itself: what listens, who gets in, and which signals do."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from pipeline.cluster.ray_cluster import own_cluster
from pipeline.cluster.ray_guard import RAY_PROCESSES, _descendants, _ray_processes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.environ.get("RAY_ADDRESS") is not None, reason="joins a cluster")]
ENTER = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(len(ray.nodes()), 'node')"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with own_cluster(1, 0, 2.0):
        yield ray.get_runtime_context().gcs_address


# In a process of its own, since Ray decides where it listens when it is imported.
LISTEN = """
from pipeline.cluster.ray_cluster import own_cluster, ray
import os, re, subprocess
from pathlib import Path

def is_ours(pid):
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == os.getpid()

with own_cluster(1, 0, 2.0):
    ray.get(ray.remote(lambda: 1).remote())  # now a worker listens as well
    for line in subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines():
        if any(is_ours(int(pid)) for pid in re.findall(r"pid=(\\d+)", line)):
            print(line.split()[3])
"""


@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss on the PATH")
def test_it_listens_on_loopback_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LISTEN], capture_output=True, text=True, check=True)
    places = [place.rpartition(":")[0].strip("[]").removeprefix("::ffff:") for place in done.stdout.split()]
    assert len(places) >= 5
    assert set(places) <= {"127.0.0.1", "::1"}


# Before the first test with `address`: a process can be in one cluster only.
def test_the_command_and_not_ray_handles_sigterm_after_the_start_of_ray() -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with own_cluster(1, 0, 2.0), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("token", ["none", "wrong", "right"])
def test_only_who_has_the_token_gets_in(address: str, tmp_path: Path, token: str) -> None:
    tokens = {
        "none": {},
        "wrong": {"RAY_AUTH_TOKEN": "0" * 64},
        "right": {"RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]},
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment = {**others, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token" if tokens[token] else "disabled"}
    command = [sys.executable, "-c", ENTER, address]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, **tokens[token]})
    assert (done.returncode == 0) == (token == "right"), done.stderr
    assert ("1 node" in done.stdout) == (token == "right")


@pytest.mark.usefixtures("address")
def test_a_signal_to_the_group_of_the_command_reaches_none_of_rays_processes() -> None:
    processes = _ray_processes()
    assert sorted(processes.values()) == sorted(RAY_PROCESSES)
    family = {*processes, *(below for pid in processes for below in _descendants(pid))}
    assert os.getpgrp() not in {os.getpgid(pid) for pid in family}


def test_the_token_is_in_no_file_of_ray(address: str) -> None:
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = [file for file in session.rglob("*") if file.is_file()]
    assert files
    assert [file for file in files if token in file.read_bytes()] == []
