"""A long sweep: what the command and Ray's processes use hardly grows with the number of trials that have ended."""

import sqlite3
import subprocess
import time
from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from faults import assert_nothing_is_left, cmdline, command, descendants

pytestmark = pytest.mark.fault

# What is watched, by a part of its command line. Trials and their workers come and go.
WATCHED = {"gcs": "gcs_server", "raylet": "raylet/raylet", "fork server": "forkserver", "worker": "Trainable"}
# Of 200 trials, what is needed once has settled after so many.
SETTLED = 20
# MB of main memory a trial. Tune and Ray keep records of trials that have ended.
MOST_GROWTH = 0.5


@dataclass(frozen=True)
class Sample:
    """What a sweep uses at one moment. resident: MB of main memory by part."""

    done: int
    resident: dict[str, float]
    files: int
    threads: int
    processes: int


def sample(pid: int, done: int) -> Sample | None:
    """Look at a sweep; None if a process ends meanwhile."""
    below, resident = descendants(pid), defaultdict[str, float](float)
    with suppress(OSError, StopIteration):
        resident["command"] = _resident_mb(pid)
        for child in below:
            words = cmdline(child)
            for name, part in WATCHED.items():
                # The trials are children of the fork server, with its command line.
                if part in words and not (name == "fork server" and resident[name]):
                    resident[name] += _resident_mb(child)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return Sample(done, dict(resident), files, threads, len(below))
    return None


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def finished(store: Path) -> int:
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return database.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0]


@pytest.mark.usefixtures("drawn")
def test_a_long_sweep_uses_no_more_with_every_trial(request: pytest.FixtureRequest, pair: Path) -> None:
    """`--trials=200` takes twenty minutes of two cores. With few trials only the names of the parts are checked."""
    trials: int = request.config.getoption("--trials")
    samples: list[Sample] = []
    seeds, store = f"seeds={[*range(trials // 2)]}".replace(" ", ""), pair / "mlflow.db"
    with Path("output.txt").open("w") as output:
        sweep = subprocess.Popen(
            command("sweep", "pair", seeds, "train.constant_epochs=1"),
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        while sweep.poll() is None:
            found = sample(sweep.pid, finished(store))
            samples += [found] if found and found.done else []
            time.sleep(0.5)
    assert sweep.returncode == 0, Path("output.txt").read_text()
    assert finished(store) >= trials
    assert_nothing_is_left(f"sqlite:///{store}", [sweep])
    assert {"command", *WATCHED} <= {name for one in samples for name in one.resident}
    print(table(samples, trials))
    early = [one for one in samples if SETTLED <= one.done < trials // 3]
    late = [one for one in samples if one.done >= trials - trials // 3]
    if trials >= 5 * SETTLED:
        for what in ("files", "threads", "processes"):
            assert usual(late, what) <= usual(early, what), what
        apart = median(one.done for one in late) - median(one.done for one in early)
        for name in ("command", *WATCHED):
            growth = (usual(late, name) - usual(early, name)) / apart
            assert growth < MOST_GROWTH, f"{name} has grown by {growth:.2f} MB a trial"


def usual(samples: list[Sample], what: str) -> float:
    """The median of a count, or of the memory of a part."""
    return median(getattr(one, what) if what in vars(one) else one.resident.get(what, 0.0) for one in samples)


def table(samples: list[Sample], trials: int) -> str:
    """Medians over tenths of the trials."""
    names = ["command", *WATCHED]
    lines = ["| trials done | " + " | ".join(f"{name}, MB" for name in names) + " | files | threads | processes |"]
    for tenth in range(10):
        part = [one for one in samples if tenth <= one.done * 10 / trials < tenth + 1]
        if part:
            cells = [f"{usual(part, what):.0f}" for what in (*names, "files", "threads", "processes")]
            lines.append(f"| {part[0].done} to {part[-1].done} | {' | '.join(cells)} |")
    return "\n".join(lines)
