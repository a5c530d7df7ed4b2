"""The machine on which trials run, with GPUs that are made up."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from gpu_facts import H100, USED

from pipeline.config.compute import ComputeConfig
from pipeline.errors import UserError
from pipeline.hardware import device as module
from pipeline.hardware.allocation import share_of
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.device import Machine, describe_devices, find_machine, resolve_device
from pipeline.hardware.gpus import GPU, find_gpus
from pipeline.hardware.memory import limit_cuda

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
FULLEST_HAS_9_GB = Machine("cuda", "NVIDIA H100", 16, 2, 9.0, (H100, replace(USED, index=1)))


@NO_CUDA
def test_a_machine_without_cuda_says_why_and_never_takes_the_cpu_instead() -> None:
    fault = cuda_fault(find_cuda())
    assert fault is not None and find_gpus() == ()
    with pytest.raises(UserError, match=r"^compute\.device=cuda: .*compute\.device=cpu$") as raised:
        resolve_device("cuda")
    assert str(fault) in str(raised.value)


@NO_CUDA
def test_the_line_of_the_cpu_says_why_it_is_used() -> None:
    auto, cpu = ComputeConfig(), ComputeConfig(device="cpu")
    fault = cuda_fault(find_cuda())
    assert fault is not None
    assert describe_devices(find_machine(auto), auto).endswith(f"cores): {fault.found}.")
    assert describe_devices(find_machine(cpu), cpu).endswith("cores): compute.device=cpu.")


def test_the_line_of_gpus_says_which_and_what_is_free() -> None:
    assert describe_devices(FULLEST_HAS_9_GB, ComputeConfig()) == (
        "Running on GPU 0 (NVIDIA H100, 79.0 of 80.0 GB free), "
        "GPU 1 (NVIDIA H100, 9.0 of 80.0 GB free (process 4242 uses 71.0 GB))."
    )


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with these GPUs, as far as pipeline.hardware.device can tell."""

    def set_up(*gpus: GPU) -> None:
        monkeypatch.setattr(module, "find_gpus", lambda: gpus)
        monkeypatch.setattr(module, "device_kind", lambda _: "cuda")
        monkeypatch.setattr(module, "device_name", lambda _: gpus[0].name)

    return set_up


def test_a_machine_has_the_memory_that_is_free_on_its_fullest_gpu(two_gpus: Callable[..., None]) -> None:
    two_gpus(H100, replace(USED, index=1))
    machine = find_machine(ComputeConfig())
    assert (machine.gpus, machine.memory_gb) == (2, 9.0)
    two_gpus(replace(H100, free_gb=None))
    assert find_machine(ComputeConfig()).memory_gb == 80.0


def test_a_trial_that_does_not_fit_is_told_what_is_free_and_who_uses_the_rest() -> None:
    with pytest.raises(UserError) as caught:
        share_of(FULLEST_HAS_9_GB, ComputeConfig(), 13.0, 9)
    facts = ("13.0 GB", "GPU 1 (NVIDIA H100)", "9.0 of 80.0 GB free", "process 4242 uses 71.0 GB", "data.size")
    assert [fact for fact in facts if fact not in str(caught.value)] == []


def test_a_share_is_limited_as_a_fraction_of_all_memory_not_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    machine = Machine("cuda", "NVIDIA H100", 16, 1, 40.0, (replace(H100, free_gb=40.0),))
    limit_cuda(torch.device("cuda"), share_of(machine, ComputeConfig(), 15.0, 9).memory_gb)
    assert fractions == [pytest.approx(0.25)]
