"""GPUs, their faults, and what is done about them. No GPU is needed: facts are frozen data, and NVML's answers too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.config.schema import ComputeConfig
from pipeline.config.sweep_file import load_sweep
from pipeline.errors import UserError
from pipeline.hardware import device as compute
from pipeline.hardware.allocation import share_of
from pipeline.hardware.cuda import CudaFacts, cuda_fault, cuda_notes, find_cuda, runs_on
from pipeline.hardware.device import Machine, describe_devices, find_machine, resolve_device, shares_gpus
from pipeline.hardware.energy import until_it_fails
from pipeline.hardware.gpus import GPU, Driver, GPUProcess, describe_gpu, energy_reader, find_gpus
from pipeline.hardware.memory import limit_cuda
from pipeline.orchestration import preflight
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.preflight import require_machine

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")

H100 = GPU(0, "GPU-a", "NVIDIA H100", 80.0, 79.0, (9, 0), "default", mig=False)
USED = replace(H100, free_gb=9.0, processes=(GPUProcess(4242, 71.0),))
FULL = replace(H100, free_gb=0.5, processes=(GPUProcess(4242, 79.0), GPUProcess(9, None)))
SLICE = replace(H100, uuid="MIG-a", memory_gb=20.0, free_gb=19.5, mig=True, slices=("MIG-a", "MIG-b"))
FACTS = CudaFacts(
    torch_version="2.14.1+cu130",
    torch_cuda="13.0",
    architectures=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    available=True,
    torch_error="",
    visible=None,
    driver=Driver(True, "580.65.06", (13, 0), 1),
    gpus=(H100,),
    mps=False,
)
UNAVAILABLE = replace(FACTS, available=False, torch_error="No CUDA GPUs are available", gpus=())
OLD_DRIVER = Driver(True, "535.129.03", (12, 2), 1)
MISMATCH = Driver(True, None, (13, 0), None, "Driver/library version mismatch")
EXCLUSIVE = replace(H100, compute_mode="exclusive process")


def test_a_gpu_that_can_be_used_has_no_fault() -> None:
    assert cuda_fault(FACTS) is None
    assert cuda_fault(replace(FACTS, gpus=(H100, SLICE), visible="0,1")) is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(UNAVAILABLE, torch_cuda=None, torch_version="2.14.1+cpu"), r"torch 2.14.1\+cpu is built without CUDA"),
        (replace(UNAVAILABLE, driver=Driver(False)), r"finds no NVIDIA driver .*\. Install the driver"),
        (replace(UNAVAILABLE, visible=""), r"CUDA_VISIBLE_DEVICES='' hides every GPU\. Unset it"),
        (replace(UNAVAILABLE, visible="-1"), r"CUDA_VISIBLE_DEVICES='-1' hides every GPU"),
        (
            replace(UNAVAILABLE, driver=OLD_DRIVER),
            r"driver 535.129.03 supports CUDA up to 12.2, and torch .* is built with CUDA 13.0\. Update the driver",
        ),
        (replace(UNAVAILABLE, driver=replace(FACTS.driver, gpus=0)), "driver is installed, and it finds no GPU"),
        (replace(UNAVAILABLE, visible="7"), "CUDA_VISIBLE_DEVICES='7' names no GPU that exists: .* 1 GPU, number 0"),
        (
            replace(UNAVAILABLE, visible="GPU-x", driver=replace(FACTS.driver, gpus=4)),
            "'GPU-x' names no GPU that exists: the machine has 4 GPUs, numbers 0 to 3",
        ),
        (
            replace(UNAVAILABLE, torch_error="CUDA unknown error", driver=MISMATCH),
            r"cannot start CUDA: CUDA unknown error; NVML says: Driver/library version mismatch\. Check",
        ),
        (
            replace(FACTS, gpus=(H100, replace(H100, index=1, name="Tesla P100", capability=(6, 0)))),
            r"GPU 1 \(Tesla P100\) has compute capability 6.0, and torch .* is built for sm_75, .*sm_120\. Install",
        ),
        (replace(FACTS, gpus=(replace(H100, compute_mode="prohibited"),)), "prohibited mode, in which no process"),
        (replace(FACTS, gpus=(EXCLUSIVE,)), r"only one process may use it, so trials cannot share it\. Set .*most_per"),
        (
            replace(FACTS, gpus=(replace(EXCLUSIVE, processes=USED.processes),)),
            r"only one process may use it, and process 4242 uses 71.0 GB\. Wait for that process",
        ),
        (
            replace(FACTS, gpus=(H100, replace(FULL, index=1))),
            r"GPU 1 .* is full: 0.5 of 80.0 GB free \(process 4242 uses 79.0 GB, process 9 uses an unknown amount\)",
        ),
        (replace(FACTS, gpus=(replace(H100, free_gb=0.0),)), "is full: .* the driver does not say who uses the rest"),
    ],
)
def test_each_fault_of_cuda_is_told_with_its_mend(facts: CudaFacts, said: str) -> None:
    fault = cuda_fault(facts)
    assert fault is not None
    assert len(str(fault).splitlines()) == 1
    with pytest.raises(UserError, match=said):
        raise UserError(str(fault))


def test_a_gpu_for_one_process_carries_one_trial_or_those_under_mps() -> None:
    exclusive = replace(FACTS, gpus=(EXCLUSIVE,))
    assert cuda_fault(exclusive, sharing=False) is None
    assert cuda_fault(replace(exclusive, mps=True)) is None
    assert shares_gpus(ComputeConfig())
    assert not shares_gpus(ComputeConfig(most_per_gpu=1))
    assert not shares_gpus(ComputeConfig(gpus_per_trial=1.0))
    assert shares_gpus(ComputeConfig(gpus_per_trial=0.5))


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((7, 0), ("sm_75", "compute_75"), False),
        ((9, 0), ("sm_90a",), True),
        ((12, 1), ("sm_120a",), False),
        ((12, 1), ("sm_120f",), True),
        ((12, 1), ("compute_90f",), False),
        ((6, 0), (), True),
    ],
)
def test_code_runs_on_its_major_version_and_ptx_on_later_ones(
    capability: tuple[int, int], architectures: tuple[str, ...], runs: bool
) -> None:
    assert runs_on(capability, architectures) == runs


def test_what_is_usable_but_unusual_is_noted() -> None:
    quiet = replace(FACTS, mps=True)
    assert cuda_notes(quiet) == []
    (mps,) = cuda_notes(FACTS)
    assert "Multi-Process Service does not run" in mps.found
    (others,) = cuda_notes(replace(quiet, gpus=(USED,)))
    assert "Others use GPU 0: process 4242 uses 71.0 GB" in others.found
    unknown = replace(H100, free_gb=None)
    (blind,) = cuda_notes(replace(quiet, gpus=(unknown,), driver=MISMATCH))
    assert "NVML does not answer (Driver/library version mismatch)" in blind.found and "all 80.0 GB" in blind.mend
    (mig,) = cuda_notes(replace(quiet, gpus=(SLICE,)))
    assert "MIG slice of 20.0 GB, one of 2" in mig.found and "(MIG-a, MIG-b)" in mig.mend


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
    machine = Machine("cuda", "NVIDIA H100", 16, 2, 9.0, (H100, replace(USED, index=1)))
    assert describe_devices(machine, ComputeConfig()) == (
        "Running on GPU 0 (NVIDIA H100, 79.0 of 80.0 GB free), "
        "GPU 1 (NVIDIA H100, 9.0 of 80.0 GB free (process 4242 uses 71.0 GB))."
    )


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with these GPUs, as far as pipeline.hardware.device can tell."""

    def set_up(*gpus: GPU) -> None:
        monkeypatch.setattr(compute, "find_gpus", lambda: gpus)
        monkeypatch.setattr(compute, "resolve_device", lambda _: torch.device("cuda"))
        monkeypatch.setattr(compute, "device_name", lambda _: gpus[0].name)

    return set_up


def test_a_machine_has_the_memory_that_is_free_on_its_fullest_gpu(two_gpus: Callable[..., None]) -> None:
    two_gpus(H100, replace(USED, index=1))
    machine = find_machine(ComputeConfig())
    assert (machine.gpus, machine.memory_gb) == (2, 9.0)
    two_gpus(replace(H100, free_gb=None))
    assert find_machine(ComputeConfig()).memory_gb == 80.0


def test_a_trial_that_does_not_fit_is_told_what_is_free_and_who_uses_the_rest() -> None:
    machine = Machine("cuda", "NVIDIA H100", 16, 2, 9.0, (H100, replace(USED, index=1)))
    with pytest.raises(
        UserError, match=r"a trial needs 13.0 GB and GPU 1 \(NVIDIA H100\) has 9.0 of 80.0 GB free"
    ) as e:
        share_of(machine, ComputeConfig(), 13.0, 9)
    assert "(process 4242 uses 71.0 GB); lower data.size" in str(e.value)


def test_a_share_is_limited_as_a_fraction_of_all_memory_not_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    machine = Machine("cuda", "NVIDIA H100", 16, 1, 40.0, (replace(H100, free_gb=40.0),))
    limit_cuda(torch.device("cuda"), share_of(machine, ComputeConfig(), 15.0, 9).memory_gb)
    assert fractions == [pytest.approx(0.25)]


class NoAnswerError(Exception):
    """NVML's own kind of error."""


@dataclass(frozen=True)
class Handle:
    """What NVML knows of a GPU or a slice."""

    uuid: str
    free: int = 79_000_000_000
    mode: int = 0
    joules: float | None = 12.0
    slices: tuple["Handle", ...] = ()
    is_slice: bool = False
    processes: tuple[SimpleNamespace, ...] = ()


class Library:
    """NVML's answers about frozen handles, by pynvml's names."""

    NVMLError = NoAnswerError
    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *cards: Handle, old: bool = False) -> None:
        self.handles = {handle.uuid: handle for card in cards for handle in (card, *card.slices)}
        self.whole = {part.uuid: card for card in cards for part in card.slices}
        self.old = old

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Handle:  # noqa: N802
        if uuid not in self.handles:
            raise NoAnswerError("Not Found")
        return self.handles[uuid]

    def nvmlDeviceGetMigMode(self, handle: Handle) -> list[int]:  # noqa: N802
        if handle.is_slice:
            raise NoAnswerError("Invalid Argument")
        return [int(bool(handle.slices)), int(bool(handle.slices))]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Handle) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Handle, index: int) -> Handle:  # noqa: N802
        if index >= len(handle.slices):
            raise NoAnswerError("Not Found")
        return handle.slices[index]

    def nvmlDeviceIsMigDeviceHandle(self, handle: Handle) -> Any:  # noqa: N802
        return SimpleNamespace(value=int(handle.is_slice))

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Handle) -> Handle:  # noqa: N802
        return self.whole[handle.uuid]

    def nvmlDeviceGetUUID(self, handle: Handle) -> str:  # noqa: N802
        return handle.uuid

    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> Any:  # noqa: N802
        return SimpleNamespace(free=handle.free)

    def nvmlDeviceGetComputeMode(self, handle: Handle) -> int:  # noqa: N802
        if handle.is_slice:
            raise NoAnswerError("Not Supported")
        return handle.mode

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Handle) -> list[Any]:  # noqa: N802
        if self.old:
            raise NoAnswerError("Function Not Found")
        return list(handle.processes)

    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: Handle) -> list[Any]:  # noqa: N802
        return list(handle.processes)


PROPERTIES = SimpleNamespace(uuid="a", total_memory=80_000_000_000, name="NVIDIA H100", major=9, minor=0)
PARTS = (
    Handle("MIG-1", free=19_000_000_000, is_slice=True),
    Handle("MIG-2", free=9_000_000_000, is_slice=True),
)


@pytest.mark.parametrize("old", [False, True])
def test_nvml_says_what_is_free_in_which_mode_and_who_uses_it(old: bool) -> None:
    users = (
        SimpleNamespace(pid=7, usedGpuMemory=None),
        SimpleNamespace(pid=5, usedGpuMemory=3_000_000_000),
    )
    gpu = describe_gpu(Library(Handle("GPU-a", mode=3, processes=users), old=old), 0, PROPERTIES, "")
    assert gpu == replace(EXCLUSIVE, processes=(GPUProcess(5, 3.0), GPUProcess(7, None)))


@pytest.mark.parametrize("library", [None, Library(Handle("GPU-b"))])
def test_where_nvml_does_not_know_a_gpu_its_free_memory_is_unknown(library: Library | None) -> None:
    gpu = describe_gpu(library, 0, PROPERTIES, "")
    assert (gpu.free_gb, gpu.usable_gb, gpu.compute_mode, gpu.processes) == (None, 80.0, "unknown", ())
    assert gpu.describe_memory() == "80.0 GB, an unknown part of it free"


@pytest.mark.parametrize(
    ("visible", "uuid", "found"),
    [
        ("", "a", "MIG-1"),  # torch gives the GPU's identifier: its first slice is what a process sees
        ("0", "a", "MIG-1"),
        ("", "2", "MIG-2"),  # torch gives the slice's
        ("MIG-2", "a", "MIG-2"),
        ("MIG-2,MIG-1", "a", "MIG-2"),
    ],
)
def test_a_slice_of_a_gpu_has_its_own_memory_and_the_mode_of_the_gpu(visible: str, uuid: str, found: str) -> None:
    library = Library(Handle("GPU-a", slices=PARTS))
    properties = SimpleNamespace(**{**vars(PROPERTIES), "uuid": uuid, "total_memory": 20_000_000_000})
    gpu = describe_gpu(library, 0, properties, visible)
    assert (gpu.uuid, gpu.mig, gpu.compute_mode, gpu.slices) == (found, True, "default", ("MIG-1", "MIG-2"))
    assert gpu.free_gb == {"MIG-1": 19.0, "MIG-2": 9.0}[found]


def test_a_counter_that_fails_or_goes_back_says_nothing_more() -> None:
    readings = iter([5.0, 6.0, None, 7.0])
    count = until_it_fails(lambda: next(readings))
    assert [count() for _ in range(5)] == [5.0, 6.0, None, None, None]
    readings = iter([5.0, 4.0, 8.0])
    count = until_it_fails(lambda: next(readings))
    assert [count() for _ in range(4)] == [5.0, None, None, None]


def test_a_cpu_has_no_counter_of_energy() -> None:
    assert energy_reader(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("gpu", "overrides", "said"),
    [
        (FULL, (), "GPU 0 .* is full"),
        (replace(H100, compute_mode="exclusive process"), (), "so trials cannot share it"),
        (H100, ("paths.results=results",), "paths.results: .*results is a file, not a folder"),
    ],
)
def test_a_sweep_on_cuda_is_stopped_before_it_trains(
    project: Path, monkeypatch: pytest.MonkeyPatch, gpu: GPU, overrides: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(preflight, "find_cuda", lambda: replace(FACTS, gpus=(gpu,)))
    planned = plan_sweep(load_sweep("smoke"), [*overrides])
    require_machine(replace(planned, machine=Machine("cpu", "CPU", 2, 0, 8.0)))
    (project / "results").touch()
    machine = Machine("cuda", gpu.name, 16, 1, gpu.usable_gb, (gpu,))
    with pytest.raises(UserError, match=said):
        require_machine(replace(planned, machine=machine))
