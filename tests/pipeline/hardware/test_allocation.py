from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.config.compute import ComputeConfig
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB, needed_gb, share_of, tensors_gb
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import retried
from pipeline.trial.job import TrialJob

AUTO = ComputeConfig()
GPU = Machine("cuda", "H100", cores=16, gpus=1, memory_gb=80.0)
TWO_GPUS = replace(GPU, gpus=2)
CPU = Machine("cpu", "two cores", cores=2, gpus=0, memory_gb=24.0)
MANY_CORES = replace(CPU, cores=16)


@pytest.mark.parametrize("machine", [GPU, TWO_GPUS, CPU, MANY_CORES])
@pytest.mark.parametrize("need_gb", [0.5, 3.3, 7.9, 13.0, 23.9])
@pytest.mark.parametrize("trials", [1, 2, 9, 300])
def test_never_more_is_promised_than_there_is(machine: Machine, need_gb: float, trials: int) -> None:
    share = share_of(machine, AUTO, need_gb, trials)
    assert share.memory_gb >= need_gb
    assert share.slots * share.cpus <= machine.cores
    devices = max(1, machine.gpus)
    assert share.slots * share.memory_gb <= devices * machine.memory_gb * (1 + 1e-9)
    if machine.gpus:
        assert share.slots * share.gpus <= machine.gpus * (1 + 1e-9)


def test_trials_share_a_gpu_by_the_memory_they_need() -> None:
    plenty = replace(AUTO, most_per_gpu=100, cpus_per_trial=1)
    assert share_of(GPU, plenty, 13.0, 9).slots == 6
    assert share_of(GPU, plenty, 41.0, 9).gpus == 1.0


def test_a_trial_that_is_alone_has_a_gpu_for_itself() -> None:
    assert share_of(GPU, AUTO, 5.0, trials=1).gpus == 1.0
    assert share_of(TWO_GPUS, AUTO, 5.0, trials=2).gpus == 1.0
    assert share_of(TWO_GPUS, AUTO, 5.0, trials=3).gpus == 0.5


@pytest.mark.parametrize("sharing", range(1, 17))
def test_the_parts_of_a_gpu_fit_as_often_as_planned_in_rays_steps(sharing: int) -> None:
    share = share_of(GPU, replace(AUTO, most_per_gpu=sharing, cpus_per_trial=1), 1.0, 300)
    assert share.slots == sharing
    assert sharing * round(share.gpus * 10_000) <= 10_000


def test_tensors_leave_room_for_the_contexts_of_all_who_share() -> None:
    share = share_of(GPU, AUTO, 5.0, 9)
    assert share.slots * (tensors_gb(share) + CUDA_ALLOWANCE_GB) <= GPU.memory_gb * (1 + 1e-9)
    assert tensors_gb(share_of(GPU, AUTO, 5.0, 1)) == GPU.memory_gb


def test_a_setting_bounds_how_many_share_a_gpu() -> None:
    assert share_of(GPU, AUTO, 1.0, 100).gpus == 0.25
    assert share_of(GPU, replace(AUTO, most_per_gpu=2), 1.0, 100).gpus == 0.5


def test_numbers_that_are_given_are_kept() -> None:
    share = share_of(GPU, replace(AUTO, gpus_per_trial=0.5, cpus_per_trial=3), 1.0, 9)
    assert (share.gpus, share.cpus, share.slots) == (0.5, 3, 2)
    assert share_of(CPU, replace(AUTO, cpus_per_trial=2), 1.0, 9).slots == 1


def test_cores_are_split_among_the_trials_of_the_sweep_and_not_among_those_that_are_left() -> None:
    assert share_of(MANY_CORES, AUTO, 1.0, trials=4).cpus == 4
    assert share_of(MANY_CORES, AUTO, 1.0, trials=300).cpus == 1
    assert share_of(CPU, AUTO, 1.0, trials=1).cpus == 2


def test_memory_bounds_how_many_share_a_cpu() -> None:
    assert share_of(MANY_CORES, AUTO, 7.0, trials=300).slots == 3
    assert share_of(MANY_CORES, replace(AUTO, cpus_per_trial=1), 7.0, trials=300).slots == 3


def test_a_trial_gets_as_many_whole_gpus_as_asked_and_memory_for_each() -> None:
    eight = replace(GPU, gpus=8)
    share = share_of(eight, replace(AUTO, gpus_per_trial=2.0), 30.0, 9)
    assert (share.gpus, share.processes, share.memory_gb) == (2.0, 2, 80.0)
    assert (share.slots, share.cpus, share.threads, share.packed) == (4, 4, 2, False)
    assert share_of(eight, replace(AUTO, gpus_per_trial=3.0), 30.0, 9).slots == 2


def test_on_a_cpu_the_processes_of_a_trial_share_its_cores_and_memory() -> None:
    share = share_of(MANY_CORES, replace(AUTO, gpus_per_trial=2.0), 3.0, 9)
    assert (share.gpus, share.processes, share.slots, share.cpus, share.threads) == (0.0, 2, 4, 4, 2)
    assert share.slots * share.processes * share.memory_gb == MANY_CORES.memory_gb
    assert retried_memory(share, MANY_CORES) == [6.0, 12.0]


def retried_memory(share: Share, machine: Machine) -> list[float]:
    """The memory of each process in the second try, and in the third."""
    job = TrialJob(None, "k", "run", "data", "checkpoint", "cache", "uri", share)  # pyright: ignore[reportArgumentType]
    found: list[float] = []
    while again := retried(job, machine):
        job = again
        found.append(job.share.memory_gb)
    return found


@pytest.mark.parametrize(
    ("machine", "compute", "need_gb", "said"),
    [
        (TWO_GPUS, replace(AUTO, gpus_per_trial=3.0), 1.0, "compute.gpus_per_trial=3, but this machine has 2 GPUs"),
        (CPU, replace(AUTO, gpus_per_trial=3.0), 1.0, "compute.gpus_per_trial=3, but this machine has 2 cores and"),
        (CPU, replace(AUTO, gpus_per_trial=2.0), 13.0, "needs 26.0 GB, .*two cores has 24.0 GB"),
        (GPU, AUTO, 81.0, "needs 81.0 GB, .*H100 has 80.0 GB"),
        (CPU, AUTO, 25.0, "needs 25.0 GB, .*two cores has 24.0 GB"),
        (CPU, replace(AUTO, cpus_per_trial=3), 1.0, "compute.cpus_per_trial=3, .* 2 cores"),
    ],
)
def test_what_can_never_run_is_refused(machine: Machine, compute: ComputeConfig, need_gb: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        share_of(machine, compute, need_gb, 9)


def test_a_share_that_cannot_hold_the_live_tensors_is_refused_with_the_smallest_that_can() -> None:
    with pytest.raises(UserError) as caught:
        share_of(GPU, replace(AUTO, gpus_per_trial=0.01), 3.2, 9, live_gb=2.25)
    assert str(caught.value) == (
        "compute.gpus_per_trial is 0.01, which gives a trial 0.80 GB of GPU memory. A trial needs 3.20 GB, CUDA's "
        "context included. Write 0.05 or more, or auto."
    )
    assert share_of(GPU, replace(AUTO, gpus_per_trial=0.05), 3.2, 9, live_gb=2.25).memory_gb == 4.0


@pytest.mark.parametrize("live_gb", [0.0, 0.1, 1.0, 2.25, 7.0, 19.0, 38.5, 39.5, 70.0])
@pytest.mark.parametrize("beyond", [0.0, 1.5])
def test_the_share_that_a_refusal_names_passes_and_one_hundredth_less_gives_too_little(
    live_gb: float, beyond: float
) -> None:
    need_gb = live_gb + CUDA_ALLOWANCE_GB + beyond
    with pytest.raises(UserError) as caught:
        share_of(GPU, replace(AUTO, gpus_per_trial=0.01), need_gb, 300, live_gb=live_gb)
    named = float(str(caught.value).partition("Write ")[2].partition(" or more")[0])
    assert share_of(GPU, replace(AUTO, gpus_per_trial=named), need_gb, 300, live_gb=live_gb).memory_gb > need_gb
    if named > 0.02:
        less = Share(1, named - 0.01, 0.0, 300).on_one_device
        assert GPU.memory_gb / less <= need_gb


def test_a_refusal_names_a_whole_gpu_where_no_part_of_it_is_enough() -> None:
    with pytest.raises(UserError, match="Write 1 or more"):
        share_of(GPU, replace(AUTO, gpus_per_trial=0.5), GPU.memory_gb, 9, live_gb=70.0)


def test_a_share_below_what_was_measured_and_above_the_live_tensors_passes() -> None:
    share = share_of(GPU, replace(AUTO, gpus_per_trial=0.1), 12.0, 9, live_gb=6.5)
    assert (share.gpus, share.memory_gb) == (0.1, 8.0)
    assert tensors_gb(share) > 6.5


def test_what_is_left_for_tensors_of_a_share_that_was_worked_out_is_never_refused() -> None:
    for sharing in range(1, 40):
        need_gb = GPU.memory_gb / sharing
        share = share_of(
            GPU, replace(AUTO, most_per_gpu=100, cpus_per_trial=1), need_gb, 300, live_gb=need_gb - CUDA_ALLOWANCE_GB
        )
        assert share.memory_gb >= need_gb


def test_a_process_needs_more_than_its_live_tensors() -> None:
    assert 2.397 + 0.75 <= needed_gb(2.397, "cuda") <= 3.4  # the paper's column says 3.33
    # Twice the tensors, and the process itself (docs/sweeps.md).
    assert needed_gb(2.397, "cpu") == pytest.approx(2 * 2.397 + 0.75)


@pytest.mark.parametrize(
    ("share", "sharing"),
    [
        (Share(cpus=1, gpus=0.0, memory_gb=8.0, slots=3), 3),
        (Share(cpus=4, gpus=0.5, memory_gb=40.0, slots=2), 2),
        (Share(cpus=4, gpus=0.25, memory_gb=20.0, slots=8), 4),
        (Share(cpus=4, gpus=0.3333, memory_gb=26.0, slots=3), 3),
        (Share(cpus=8, gpus=1.0, memory_gb=80.0, slots=2), 1),
        (Share(cpus=8, gpus=2.0, memory_gb=80.0, slots=1), 1),
        (Share(cpus=8, gpus=0.25, memory_gb=20.0, slots=1), 1),  # memory for four, cores for one
    ],
)
def test_packed_is_who_has_neighbours_on_its_own_device(share: Share, sharing: int) -> None:
    assert share.side_by_side == sharing
    assert share.packed == (sharing > 1)


@pytest.fixture
def job(tiny: Callable[..., Config]) -> Callable[[str, Machine, float], TrialJob]:
    def make(key: str, machine: Machine, need_gb: float) -> TrialJob:
        share = share_of(machine, replace(AUTO, most_per_gpu=8), need_gb, 300)
        return TrialJob(tiny(), key, "run", "data", "checkpoint", "cache", "uri", share)

    return make


@pytest.mark.parametrize("machine", [GPU, TWO_GPUS, MANY_CORES])
def test_what_ran_out_of_memory_gets_twice_the_share_up_to_a_whole_device(
    job: Callable[[str, Machine, float], TrialJob], machine: Machine
) -> None:
    current: TrialJob | None = job("k", machine, machine.memory_gb / 8)
    memory: list[float] = []
    while current:
        memory.append(current.share.memory_gb)
        assert current.share.slots * current.share.memory_gb <= max(1, machine.gpus) * machine.memory_gb * (1 + 1e-9)
        assert (current.share.gpus > 0) == (machine.gpus > 0)
        current = retried(current, machine)
    assert memory == [machine.memory_gb / 8, machine.memory_gb / 4, machine.memory_gb / 2, machine.memory_gb]


def test_what_ran_out_of_memory_is_not_held_back_by_its_own_failure(
    job: Callable[[str, Machine, float], TrialJob],
) -> None:
    again = retried(replace(job("k", GPU, 10.0), final_statuses=("FINISHED", "KILLED", "FAILED")), GPU)
    assert again is not None
    assert again.final_statuses == ("FINISHED", "KILLED")
