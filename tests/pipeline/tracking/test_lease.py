"""Who trains a trial when machines share only the tracking store."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import pytest

from pipeline.processes import start_of, this_host
from pipeline.tracking import lease
from pipeline.tracking.lease import TAG, Claim, Lease, LeasedError, is_leased, leased, uses_leases


class Run:
    """A run's tags as a store keeps them: each call is atomic, and other calls come in between."""

    patience = 0.0

    def __init__(self, seed: int = 0) -> None:
        self.tags: dict[str, str] = {}
        self._lock, self._random = threading.Lock(), random.Random(seed)

    def read(self) -> Mapping[str, str]:
        with self._at_any_moment():
            return dict(self.tags)

    def write(self, name: str, value: str) -> None:
        with self._at_any_moment():
            self.tags[name] = value

    def delete(self, name: str) -> None:
        with self._at_any_moment():
            self.tags.pop(name, None)

    def _at_any_moment(self) -> threading.Lock:
        time.sleep(self._random.random() * 0.003)
        return self._lock


def claim_of_another_host(at: float) -> Claim:
    return Claim("another", 1, 1, "node", number=1, renewals=0, at=at)


def put(run: Run, claim: Claim, id: str = "feedbeef") -> None:
    run.tags[TAG + id] = json.dumps(asdict(claim))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Leases of half a second, renewed four times as often."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(lease, "CHOOSING_SECONDS", 0.005)
    yield 0.5


@pytest.mark.parametrize("seed", range(8))
def test_of_processes_that_ask_at_once_never_two_hold_the_lease(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "CHOOSING_SECONDS", 0.001)
    run, holders, most, held = Run(seed), [0], [0], [0]

    def ask() -> None:
        for _ in range(4):
            mine = Lease(run, "", ())
            try:
                mine.acquire()
            except LeasedError:
                continue
            holders[0] += 1
            held[0] += 1
            most[0] = max(most[0], holders[0])
            time.sleep(0.002)
            holders[0] -= 1
            mine.release()

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and held[0] >= 1
    assert run.tags == {}


def test_a_lease_is_refused_while_it_is_renewed_and_free_after_it_was_given_back(seconds: float) -> None:
    run = Run()
    with leased(run, "", (), on_loss=pytest.fail):
        time.sleep(2 * seconds)
        assert is_leased(run.tags)
        with pytest.raises(LeasedError, match="another machine"):
            Lease(run, "", ()).acquire()
    assert not is_leased(run.tags)
    Lease(run, "", ()).acquire()


def test_a_lease_that_nobody_renews_is_taken_over_by_the_clock_of_who_waits(seconds: float) -> None:
    run = Run()
    put(run, claim_of_another_host(at=time.time() - 3600))
    asked = time.monotonic()
    Lease(run, "", ()).acquire()
    assert time.monotonic() - asked >= seconds
    assert f"{TAG}feedbeef" not in run.tags


def test_a_holder_whose_clock_is_an_hour_late_keeps_its_lease(seconds: float) -> None:
    run, over = Run(), threading.Event()

    def renew() -> None:
        for number in range(1000):
            put(run, replace(claim_of_another_host(time.time() - 3600), renewals=number))
            if over.wait(0.1):
                return

    thread = threading.Thread(target=renew)
    thread.start()
    waiting = threading.Thread(target=Lease(run, "", ()).acquire, daemon=True)
    waiting.start()
    waiting.join(3 * seconds)
    assert waiting.is_alive()
    run_over = list(run.tags)
    over.set()
    thread.join()
    waiting.join(5)
    assert run_over == [f"{TAG}feedbeef"]


def test_the_lease_of_a_dead_process_of_this_host_or_of_a_lost_node_is_free_at_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = start_of(child.pid)
    child.communicate(b"\n")
    run = Run()
    put(run, replace(claim_of_another_host(time.time()), host=this_host(), pid=child.pid, start=start))
    Lease(run, "", ()).acquire()
    run = Run()
    put(run, claim_of_another_host(time.time()))
    with pytest.raises(LeasedError):
        Lease(run, "", ()).acquire()
    Lease(run, "", ["node"]).acquire()


def test_who_was_taken_for_dead_is_told_and_never_comes_back(seconds: float) -> None:
    run = Run()
    slow = Lease(run, "slow", ())
    slow.acquire()
    Lease(run, "", ["slow"]).acquire()
    assert not slow.renew()
    put(run, claim_of_another_host(time.time()), slow._id)  # a renewal that was under way
    assert not slow.renew()


def test_only_a_store_that_machines_can_share_needs_leases() -> None:
    assert uses_leases("http://host:5000") and uses_leases("postgresql://host/mlflow")
    assert not uses_leases("sqlite:///mlflow.db")
