"""GPUs as NVML describes them, with answers of NVML that are made up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from gpu_facts import EXCLUSIVE

from pipeline.hardware.gpus import GPUProcess, counter_of, describe_gpu


class NoAnswerError(Exception):
    """NVML's own kind of error."""


@dataclass(frozen=True)
class Handle:
    """What NVML knows of a GPU or a slice."""

    uuid: str
    free: int = 79_000_000_000
    mode: int = 0
    slices: tuple["Handle", ...] = ()
    is_slice: bool = False
    processes: tuple[SimpleNamespace, ...] = ()


class Library:
    """NVML's answers about frozen handles, by pynvml's names."""

    NVMLError = NoAnswerError
    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *cards: Handle, energy: Sequence[int | None] = ()) -> None:
        self.handles = {handle.uuid: handle for card in cards for handle in (card, *card.slices)}
        self.whole = {part.uuid: card for card in cards for part in card.slices}
        self.energy = iter(energy)

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
        return list(handle.processes)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Handle) -> int:  # noqa: N802
        millijoules = next(self.energy)
        if millijoules is None:
            raise NoAnswerError("Not Supported")
        return millijoules


PROPERTIES = SimpleNamespace(uuid="a", total_memory=80_000_000_000, name="NVIDIA H100", major=9, minor=0)
PARTS = (
    Handle("MIG-1", free=19_000_000_000, is_slice=True),
    Handle("MIG-2", free=9_000_000_000, is_slice=True),
)


def test_nvml_says_what_is_free_in_which_mode_and_who_uses_it() -> None:
    users = (
        SimpleNamespace(pid=7, usedGpuMemory=None),
        SimpleNamespace(pid=5, usedGpuMemory=3_000_000_000),
    )
    gpu = describe_gpu(Library(Handle("GPU-a", mode=3, processes=users)), 0, PROPERTIES, "")
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


@pytest.mark.parametrize(
    ("readings", "joules"), [([5000, 6000, None], [5.0, 6.0, None]), ([5000, 4000, 8000], [5.0, None, 8.0])]
)
def test_a_counter_that_fails_or_goes_back_says_nothing(readings: list[int | None], joules: list[float | None]) -> None:
    count = counter_of(Library(energy=readings), Handle("GPU-a"))
    assert [count() for _ in readings] == joules
