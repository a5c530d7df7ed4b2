"""The GPUs that this process may use, as NVML and torch describe them. The only file that knows pynvml.

Nothing here creates a CUDA context, which would take 0.5 GB of the GPU: torch gives the properties, NVML the rest.
All memory is in 10^9 bytes.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch

GB = 1e9
ComputeMode = Literal["default", "exclusive process", "prohibited", "unknown"]
# nvml.h: the names of NVML_COMPUTEMODE_…; a mode of exclusive threads no longer exists.
_MODES: dict[int, ComputeMode] = {0: "default", 2: "prohibited", 3: "exclusive process"}
# Native bf16 and TF32 begin with Ampere (torch.cuda.is_bf16_supported, is_tf32_supported).
FIRST_WITH_BF16 = (8, 0)


@dataclass(frozen=True)
class GPUProcess:
    """A process that uses a GPU. used_gb: None where the driver does not say."""

    pid: int
    used_gb: float | None


@dataclass(frozen=True)
class GPU:
    """One GPU, or one MIG slice of a GPU.

    index: torch's number, which follows CUDA_VISIBLE_DEVICES. free_gb: None where NVML does not say. slices: the
    identifiers of all MIG slices of the same GPU.
    """

    index: int
    uuid: str
    name: str
    memory_gb: float
    free_gb: float | None
    capability: tuple[int, int]
    compute_mode: ComputeMode
    mig: bool
    processes: tuple[GPUProcess, ...] = ()
    slices: tuple[str, ...] = ()

    @property
    def usable_gb(self) -> float:
        """The memory that is free; all of it where that is unknown."""
        return self.memory_gb if self.free_gb is None else self.free_gb

    @property
    def has_bf16(self) -> bool:
        """Whether the GPU computes in bf16 natively; the same GPUs have TF32."""
        return self.capability >= FIRST_WITH_BF16

    def describe_memory(self) -> str:
        """Return how much is free, of how much, and who uses the rest: '9.0 of 80.0 GB free (…)'."""
        if self.free_gb is None:
            return f"{self.memory_gb:.1f} GB, an unknown part of it free"
        users = f" ({self.describe_users()})" if self.processes else ""
        return f"{self.free_gb:.1f} of {self.memory_gb:.1f} GB free{users}"

    def describe_users(self) -> str:
        """Return each process and its memory: 'process 4242 uses 71.0 GB'."""
        return ", ".join(
            f"process {found.pid} uses {'an unknown amount' if found.used_gb is None else f'{found.used_gb:.1f} GB'}"
            for found in self.processes
        )


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver. loaded: whether its library can be loaded. version: '580.65.06', where NVML says it.

    cuda: the newest CUDA that it supports, (13, 0). gpus: how many GPUs the machine has, whatever
    CUDA_VISIBLE_DEVICES says; None where NVML does not say. nvml_error: why NVML does not answer, else ''.
    """

    loaded: bool
    version: str | None = None
    cuda: tuple[int, int] | None = None
    gpus: int | None = None
    nvml_error: str = ""


def find_driver() -> Driver:
    """Ask the driver's library for its CUDA version, and NVML for the rest."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(loaded=False)
    number = ctypes.c_int()
    # It needs no initialised driver. 13000 stands for 13.0.
    known = library.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value > 0
    cuda = (number.value // 1000, number.value % 1000 // 10) if known else None
    nvml, error = _open_nvml()
    if nvml is None:
        return Driver(True, cuda=cuda, nvml_error=error)
    version = _asked(nvml, nvml.nvmlSystemGetDriverVersion)
    return Driver(True, version, cuda, _asked(nvml, nvml.nvmlDeviceGetCount))


def find_gpus() -> tuple[GPU, ...]:
    """The GPUs that torch can use, in torch's order; none where torch cannot use CUDA."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # faults are told by pipeline.hardware.cuda
        if not torch.cuda.is_available():
            return ()
        nvml, _ = _open_nvml()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return tuple(describe_gpu(nvml, index, found, visible) for index, found in enumerate(properties))


def describe_gpu(nvml: Any, index: int, properties: Any, visible: str) -> GPU:
    """Join torch's properties of a device to what NVML says of it.

    Args:
        nvml: the library, or None where it is absent.
        visible: the value of CUDA_VISIBLE_DEVICES, which may name a MIG slice.
    """
    memory_gb, capability = properties.total_memory / GB, (properties.major, properties.minor)
    handle = find_handle(nvml, str(properties.uuid), visible) if nvml else None
    if handle is None:
        uuid = f"GPU-{properties.uuid}"
        return GPU(index, uuid, properties.name, memory_gb, None, capability, "unknown", mig=False)
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    is_slice = bool(_asked(nvml, lambda: nvml.nvmlDeviceIsMigDeviceHandle(handle).value))
    whole = _asked(nvml, lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)) if is_slice else handle
    mode = _asked(nvml, lambda: nvml.nvmlDeviceGetComputeMode(whole or handle))
    uuid = _asked(nvml, lambda: nvml.nvmlDeviceGetUUID(handle)) or f"GPU-{properties.uuid}"
    return GPU(
        index,
        uuid,
        properties.name,
        memory_gb,
        # torch's total is NVML's less what the driver keeps, so free may exceed it by a little.
        None if memory is None else min(memory.free / GB, memory_gb),
        capability,
        _MODES.get(-1 if mode is None else mode, "unknown"),
        is_slice,
        _processes(nvml, handle),
        tuple(nvml.nvmlDeviceGetUUID(part) for part in _slices(nvml, whole or handle)),
    )


def find_handle(nvml: Any, uuid: str, visible: str) -> Any | None:
    """NVML's handle of a device of torch: of the slice where MIG divides the GPU; None where NVML knows no such device.

    Args:
        uuid: torch's, without 'GPU-' or 'MIG-'. On a MIG slice it is the slice's or the GPU's, by the version of CUDA.
    """
    named = visible.split(",")[0].strip()
    wanted = named if named.startswith("MIG-") else ""
    for name in filter(None, (wanted, f"MIG-{uuid}", f"GPU-{uuid}")):
        handle = _asked(nvml, lambda name=name: nvml.nvmlDeviceGetHandleByUUID(name))
        if handle is not None:
            # A process sees one slice: the one it names, possibly by its first digits, else the first.
            slices = [part for part in _slices(nvml, handle) if nvml.nvmlDeviceGetUUID(part).startswith(wanted)]
            return slices[0] if slices else handle
    return None


def energy_reader(device: torch.device) -> Callable[[], float | None] | None:
    """What reads the joules that a whole GPU has used since its driver was loaded, or None at a reading that fails.

    None in place of it for a CPU, and where the library, the driver or the GPU has no counter (GPUs before Volta, MIG
    slices).
    """
    if device.type != "cuda":
        return None
    nvml, _ = _open_nvml()
    if nvml is None:
        return None
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    handle = find_handle(nvml, uuid, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if handle is None:
        return None

    def read() -> float | None:
        millijoules = _asked(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        return None if millijoules is None else millijoules / 1000

    return read if read() is not None else None


def _open_nvml() -> tuple[Any | None, str]:
    """The library, ready; or None and why it does not answer."""
    try:
        import pynvml  # which looks for the driver's library
    except ImportError as error:
        return None, str(error)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, str(error)
    return pynvml, ""


def _asked(nvml: Any, question: Callable[[], Any]) -> Any | None:
    """NVML's answer; None where this driver or this GPU has none."""
    with suppress(nvml.NVMLError):
        return question()
    return None


def _processes(nvml: Any, handle: Any) -> tuple[GPUProcess, ...]:
    found = _asked(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    if found is None:  # drivers before 510
        found = _asked(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle))
    processes = [(one.pid, one.usedGpuMemory) for one in found or []]
    return tuple(GPUProcess(pid, None if used is None else used / GB) for pid, used in sorted(processes))


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """The MIG slices of a GPU; none where it is not divided, or is a slice itself."""
    mode = _asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle))
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    most = _asked(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0
    places = [
        _asked(nvml, lambda number=number: nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
        for number in range(most)
    ]
    return [part for part in places if part is not None]
