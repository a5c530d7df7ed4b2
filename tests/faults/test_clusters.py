"""A sweep joins a real Ray cluster: one that refuses it, and one that ends in the middle of the sweep."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import (
    Results,
    assert_as_undisturbed,
    assert_nothing_is_left,
    ray_cluster,
    results,
    start,
    trial_processes,
    until,
)

from pipeline.checks.ray_address import check_ray

pytestmark = pytest.mark.fault
TOKEN, ANOTHER = "7" * 64, "8" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home folder without a token of Ray, and an environment without one."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def joining(address: str, token: str = "", mode: str = "token") -> dict[str, str]:
    given = {"RAY_AUTH_TOKEN": token} if token else {}
    return {"RAY_ADDRESS": address, "RAY_AUTH_MODE": mode, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **given}


@pytest.mark.usefixtures("drawn", "home")
def test_a_cluster_that_refuses_a_sweep_is_named_in_one_line(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ray_cluster(TOKEN) as (address, _):
        for variables in (joining(address), joining(address, mode="disabled"), joining(address, ANOTHER)):
            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, value)
                found = check_ray(f"RAY_ADDRESS={address}")
                assert found.status == "fault" and address in found.found and "RAY_AUTH_TOKEN" in found.mend
        refused = start("sweep", "pair", **joining(address, ANOTHER))
        said, errors = refused.communicate(timeout=120)
    assert refused.returncode == 2, said + errors
    (line,) = errors.strip().splitlines()
    assert address in line and "RAY_AUTH_TOKEN" in line


@pytest.mark.usefixtures("drawn", "home")
def test_a_sweep_ends_in_one_line_when_the_cluster_that_it_joined_ends(pair: Path, undisturbed: Results) -> None:
    with ray_cluster(TOKEN) as (address, services):
        sweep = start("sweep", "pair", **joining(address, TOKEN))
        until(lambda: sweep.poll() is not None or (list(pair.glob("trials/*/last.pt")) and trial_processes(sweep)))
        running = trial_processes(sweep)
        for pid in services:
            os.kill(pid, signal.SIGKILL)
        said, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 2, said + errors
    (line,) = errors.strip().splitlines()
    assert address in line and "same command" in line
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]
    with ray_cluster(TOKEN) as (address, _):
        again = start("sweep", "pair", **joining(address, TOKEN))
        said, errors = again.communicate(timeout=300)
        assert again.returncode == 0, said + errors
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(f"sqlite:///{pair / 'mlflow.db'}", [sweep, again])
