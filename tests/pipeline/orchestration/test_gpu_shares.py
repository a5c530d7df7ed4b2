"""How Ray assigns GPUs and shares of GPUs: real trial processes, on GPUs that Ray is told of but that do not exist."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stub_shares
from stub_shares import Held, Holding, held_by_all

from pipeline.cluster.ray_cluster import own_cluster
from pipeline.config.compose import compose_config
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import JobQueue
from pipeline.orchestration.ray_tune import Events, run_jobs
from pipeline.trial.job import Outcome, TrialJob
from pipeline.trial.server import trial_server

pytestmark = pytest.mark.slow

CORES = 10
MACHINE = Machine("cuda", "promised", cores=CORES, gpus=2, memory_gb=16.0)
QUARTER, HALF, WHOLE = Share(1, 0.25, 4.0, 8), Share(2, 0.5, 8.0, 4), Share(2, 1.0, 16.0, 2)
NO_GPU = Share(1, 0.0, 1.0, 8)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The trial server, and Ray with two GPUs that do not exist. Started once for all tests here."""
    with pytest.MonkeyPatch.context() as patch, trial_server() as address:
        patch.setenv("PYTHONPATH", str(Path(stub_shares.__file__).parent), prepend=":")
        patch.delenv("RAY_ADDRESS", raising=False)
        # A sweep sets it after the start of the trial server and before the start of Ray.
        patch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/of/the/sweep")
        with own_cluster(CORES, MACHINE.gpus, 16.0):
            yield address


Train = Callable[..., dict[str, Outcome]]


@pytest.fixture
def train(server: str, tmp_path: Path) -> Train:
    """Run a trial for each share. Retry those that ran out of memory, as a sweep does."""

    def run(shares: list[Share], at_once: int = 1, enough: float = 0.0) -> dict[str, Outcome]:
        (tmp_path / stub_shares.RULES).write_text(json.dumps({"at_once": at_once, "enough": enough}))
        config = compose_config(["task=stripes"])
        jobs = [
            TrialJob(config, f"t{n}", "run", "data", str(tmp_path / f"t{n}" / "last.pt"), "cache", "uri", share)
            for n, share in enumerate(shares)
        ]
        outcomes: dict[str, Outcome] = {}
        queue = JobQueue(jobs, MACHINE)

        def end(key: str, outcome: Outcome) -> None:
            outcomes[key] = outcome
            queue.end(key, outcome)

        events = Events(lambda key: None, lambda key, progress: None, end)
        slots = max(job.share.slots for job in jobs)
        run_jobs(queue, slots, events, tmp_path / "ray", server, target=Holding())
        return outcomes

    return run


def at_the_start_of(trial: Held, held: list[Held]) -> list[Held]:
    """Return the trials that run when this one starts. The sum of shares can only be highest at such a moment."""
    return [other for other in held if other.start <= trial.start < other.end]


def most_held(held: list[Held], gpu: str) -> float:
    """Return the largest sum of shares of one GPU that was held at once."""
    on_it = [trial for trial in held if trial.visible == gpu]
    return max(sum(other.gpus for other in at_the_start_of(trial, on_it)) for trial in on_it)


def assert_no_device_is_held_twice(held: list[Held]) -> None:
    for gpu in {trial.visible for trial in held if trial.visible}:
        assert most_held(held, gpu) <= 1 + 1e-9
    assert all(sum(other.cpus for other in at_the_start_of(trial, held)) <= CORES for trial in held)


def test_shares_of_all_sizes_never_add_up_to_more_than_there_is(train: Train, tmp_path: Path) -> None:
    shares = [QUARTER, WHOLE, HALF, QUARTER, HALF, WHOLE, QUARTER, HALF, QUARTER, QUARTER]
    outcomes = train(shares)
    held = held_by_all(tmp_path)
    assert set(outcomes.values()) == {Outcome("done")} and len(held) == len(shares)
    assert {trial.pipes for trial in held} == {"/of/the/sweep"}
    assert_no_device_is_held_twice(held)
    for trial in held:
        assert trial.visible in ("0", "1") and trial.given == (trial.visible,)
        if trial.gpus == 1:
            neighbours = [other for other in held if other.visible == trial.visible and other.key != trial.key]
            assert all(other.end < trial.start or other.start > trial.end for other in neighbours)


def test_quarters_fill_both_gpus_and_one_more_waits(train: Train, tmp_path: Path) -> None:
    outcomes = train([QUARTER] * 9, at_once=8)
    held = held_by_all(tmp_path)
    assert set(outcomes.values()) == {Outcome("done")}
    assert {trial.visible for trial in held} == {"0", "1"}
    assert [most_held(held, gpu) for gpu in ("0", "1")] == [1.0, 1.0]
    assert held[-1].start > min(trial.end for trial in held[:-1])
    assert_no_device_is_held_twice(held)


def test_a_whole_gpu_is_one_trials_alone_while_four_quarters_share_the_other(train: Train, tmp_path: Path) -> None:
    outcomes = train([WHOLE, *[QUARTER] * 4], at_once=5)
    assert set(outcomes.values()) == {Outcome("done")}
    held = held_by_all(tmp_path)
    (whole,) = (trial for trial in held if trial.gpus == 1)
    others = {trial.visible for trial in held if trial != whole}
    assert len(others) == 1 and whole.visible not in others
    assert most_held(held, others.pop() or "") == 1.0
    assert_no_device_is_held_twice(held)


def test_cores_bound_how_many_run_where_gpus_would_carry_more(train: Train, tmp_path: Path) -> None:
    outcomes = train([Share(5, 0.25, 4.0, 8)] * 4, at_once=2)
    held = held_by_all(tmp_path)
    assert set(outcomes.values()) == {Outcome("done")}
    assert max(sum(other.cpus for other in at_the_start_of(trial, held)) for trial in held) == CORES


def test_thirds_that_are_rounded_down_run_three_on_a_gpu(train: Train, tmp_path: Path) -> None:
    outcomes = train([Share(1, 0.3333, 5.0, 6)] * 6, at_once=6)
    assert set(outcomes.values()) == {Outcome("done")}
    held = held_by_all(tmp_path)
    assert sorted(trial.visible or "" for trial in held) == ["0"] * 3 + ["1"] * 3


def test_a_retry_with_twice_the_share_fits_and_runs(train: Train, tmp_path: Path) -> None:
    outcomes = train([QUARTER] * 4, at_once=4, enough=0.5)
    held = held_by_all(tmp_path)
    assert set(outcomes.values()) == {Outcome("done")}
    assert [trial.gpus for trial in held] == [0.5] * 4
    assert sorted(trial.visible or "" for trial in held) == ["0", "0", "1", "1"]
    assert_no_device_is_held_twice(held)


def test_trials_on_the_cpu_see_no_gpu_of_the_machine(train: Train, tmp_path: Path) -> None:
    outcomes = train([NO_GPU] * 3, at_once=3)
    held = held_by_all(tmp_path)
    assert set(outcomes.values()) == {Outcome("done")}
    assert [(trial.visible, trial.given) for trial in held] == [("", ())] * 3
