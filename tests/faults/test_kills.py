"""Any process of a sweep is killed at any moment: the same command finishes it, with the same table."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from faults import (
    PHASES,
    Results,
    assert_as_undisturbed,
    assert_nothing_is_left,
    counted,
    finish,
    kill,
    phase,
    results,
    start,
    trial_processes,
    trials,
    until,
    victims,
)

pytestmark = pytest.mark.fault

# The whole sweep takes about this long on two quiet cores, and most of it is the start of Ray.
SECONDS = 20.0
VICTIMS = ("driver", "driver", "group", "trial", "trial", "worker", "raylet", "gcs", "forkserver")


@pytest.fixture
def uri(pair: Path) -> str:
    return f"sqlite:///{pair / 'mlflow.db'}"


def wait_for_a_moment(sweep: subprocess.Popen[str], victim: str, rng: random.Random) -> None:
    """Wait for any second at which the victim is there, for any second of any phase, or for the end of the sweep."""
    if victim not in ("driver", "group"):
        until(lambda: sweep.poll() is not None or victims(sweep, victim), seconds=300, every=0.01)
        time.sleep(rng.uniform(0, SECONDS / 4))
    elif rng.random() < 0.25:
        end = time.monotonic() + rng.uniform(0, SECONDS)
        until(lambda: sweep.poll() is not None or time.monotonic() > end)
    else:
        wanted = rng.choice(PHASES)
        until(lambda: sweep.poll() is not None or phase(sweep) == wanted, seconds=300, every=0.01)
        time.sleep(rng.uniform(0, 0.5))


def test_a_sweep_that_is_killed_at_random_moments_ends_like_the_undisturbed_one(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    pair: Path,
    undisturbed: Results,
    seed: int,
) -> None:
    """Each round begins with an empty store, and has one to three kills: later ones meet a half-filled store."""
    hits: Counter[str] = Counter()
    moments, done, tries = request.config.getoption("--moments"), 0, 0
    rng = random.Random(seed)
    print(f"--seed={seed}")
    while done < moments:
        folder = tmp_path_factory.mktemp("round")
        (folder / "sweeps").symlink_to(pair / "sweeps")
        monkeypatch.chdir(folder)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        started: list[subprocess.Popen[str]] = []
        for _ in range(min(rng.randint(1, 3), moments - done)):
            sweep = start("sweep", "pair")
            started.append(sweep)
            victim = rng.choice(VICTIMS)
            wait_for_a_moment(sweep, victim, rng)
            if sweep.poll() is None:
                at = phase(sweep)
                victim = kill(sweep, victim, rng)
                hits[f"{victim} in {at}"] += 1
                done += 1
            said, errors = sweep.communicate(timeout=300)
            assert "Traceback" not in said + errors, said + errors
        tries += finish(uri)
        assert_as_undisturbed(results(), undisturbed)
        assert_nothing_is_left(uri, started)
    print(f"{done} kills: {counted(hits)}; {tries} commands to finish")


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("victim", ["trial", "worker", "gcs", "raylet"])
def test_a_sweep_goes_on_by_itself_when_a_part_of_it_is_killed(
    pair: Path, uri: str, undisturbed: Results, victim: str
) -> None:
    sweep = start("sweep", "pair")
    until(lambda: list(pair.glob("trials/*/last.pt")))
    assert kill(sweep, victim, random.Random(0)) == victim
    said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, said + errors
    assert "Traceback" not in said + errors
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(uri, [sweep])
    if victim in ("trial", "worker"):
        assert "lost, and will run again" in said
        assert sum(int(run.data.tags.get("losses", "0")) for run in trials(uri)) == 1
    else:
        assert "Starting Ray anew" in errors


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGHUP, False)]
)
def test_a_signal_lets_trials_save_and_ends_the_sweep(
    pair: Path, uri: str, undisturbed: Results, number: signal.Signals, whole_group: bool
) -> None:
    sweep = start("sweep", "pair")
    until(lambda: list(pair.glob("trials/*/last.pt")) and trial_processes(sweep))
    running = trial_processes(sweep)
    (os.killpg if whole_group else os.kill)(sweep.pid, number)
    said, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, said + errors
    assert "Interrupted. Run the same command to resume." in errors and "Traceback" not in said + errors
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]
    finish(uri)
    assert all("cost/steps_repeated" not in run.data.metrics for run in trials(uri)), "a step was trained twice"
    assert_as_undisturbed(results(), undisturbed)
    assert_nothing_is_left(uri, [sweep])


@pytest.mark.usefixtures("drawn")
def test_a_sweep_under_nohup_outlives_its_terminal(pair: Path, uri: str, undisturbed: Results) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        sweep = start("sweep", "pair")
    finally:
        signal.signal(signal.SIGHUP, before)
    until(lambda: list(pair.glob("trials/*/last.pt")))
    os.kill(sweep.pid, signal.SIGHUP)
    said, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, said + errors
    assert_as_undisturbed(results(), undisturbed)


def test_ctrl_c_in_train_saves_first(pair: Path, uri: str) -> None:
    from faults import SWEEP

    base = SWEEP.split("base: [")[1].split("]")[0].replace("\n", " ").split(", ")
    train = start("train", *(setting.strip() for setting in base))
    until(lambda: list(pair.glob("trials/*/last.pt")))
    train.send_signal(signal.SIGINT)
    said, errors = train.communicate(timeout=60)
    assert train.returncode == 130 and "Saved at step" in said, said + errors
    again = start("train", *(setting.strip() for setting in base))
    said, errors = again.communicate(timeout=300)
    assert again.returncode == 0, said + errors
    (run,) = trials(uri)
    assert run.info.status == "FINISHED" and "cost/steps_repeated" not in run.data.metrics
