"""The GPUs that this process may use, as NVML and torch describe them. Only this file imports pynvml.

Nothing here creates a CUDA context, which would take 0.5 GB of the GPU: torch gives the properties, NVML the rest.
All memory is in 10^9 bytes.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

# The functions below import torch, which takes seconds and is not needed where there is no driver.
GB = 1e9
ComputeMode = Literal["default", "exclusive process", "prohibited", "unknown"]
# nvml.h: the names of NVML_COMPUTEMODE_…; a mode of exclusive threads no longer exists.
_MODES: dict[int, ComputeMode] = {0: "default", 2: "prohibited", 3: "exclusive process"}
# Joules of the whole GPU since the driver was loaded, by all its users. None if a reading fails or decreases.
JouleCounter = Callable[[], float | None]


@dataclass(frozen=True)
class GPUProcess:
    """A process that uses a GPU. used_gb: None if the driver does not say."""

    pid: int
    used_gb: float | None


@dataclass(frozen=True)
class GPU:
    """One GPU, or one MIG slice of a GPU.

    index: torch's number, which follows CUDA_VISIBLE_DEVICES. free_gb: None if NVML does not say. slices: the
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
        """The free memory; all memory if that is unknown."""
        return self.memory_gb if self.free_gb is None else self.free_gb

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
    """NVIDIA's driver. loaded: whether its library can be loaded. version: '580.65.06'; None if NVML does not say.

    cuda: the newest CUDA that it supports, (13, 0). gpus: how many GPUs the machine has, whatever
    CUDA_VISIBLE_DEVICES is; None if NVML does not say. nvml_error: why NVML does not answer, else ''.
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
    # This call works before the driver is initialised. 13000 means 13.0.
    known = library.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value > 0
    cuda = (number.value // 1000, number.value % 1000 // 10) if known else None
    nvml, error = _open_nvml()
    if nvml is None:
        return Driver(True, cuda=cuda, nvml_error=error)
    version = _ask(nvml, nvml.nvmlSystemGetDriverVersion)
    return Driver(True, version, cuda, _ask(nvml, nvml.nvmlDeviceGetCount))


def find_gpus() -> tuple[GPU, ...]:
    """Return the GPUs that torch can use, in torch's order; none if torch cannot use CUDA."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pipeline.hardware.cuda reports faults
        if not torch.cuda.is_available():
            return ()
        nvml, _ = _open_nvml()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return tuple(describe_gpu(nvml, index, found, visible) for index, found in enumerate(properties))


def describe_gpu(nvml: Any, index: int, properties: Any, visible: str) -> GPU:
    """Return a device from torch's properties and NVML's answers.

    Args:
        nvml: the library, or None if it does not answer.
        visible: the value of CUDA_VISIBLE_DEVICES, which may name a MIG slice.
    """
    memory_gb, capability = properties.total_memory / GB, (properties.major, properties.minor)
    handle = find_handle(nvml, str(properties.uuid), visible) if nvml else None
    if handle is None:
        uuid = f"GPU-{properties.uuid}"
        return GPU(index, uuid, properties.name, memory_gb, None, capability, "unknown", mig=False)
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    kind = _ask(nvml, nvml.nvmlDeviceIsMigDeviceHandle, handle)
    is_slice = kind is not None and bool(kind.value)
    whole = (is_slice and _ask(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle)) or handle
    processes = _ask(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    used = sorted((one.pid, None if one.usedGpuMemory is None else one.usedGpuMemory / GB) for one in processes)
    return GPU(
        index,
        _ask(nvml, nvml.nvmlDeviceGetUUID, handle) or f"GPU-{properties.uuid}",
        properties.name,
        memory_gb,
        # torch's total excludes what the driver reserves, so NVML's free memory may exceed it a little.
        None if memory is None else min(memory.free / GB, memory_gb),
        capability,
        _MODES.get(_ask(nvml, nvml.nvmlDeviceGetComputeMode, whole), "unknown"),
        is_slice,
        tuple(GPUProcess(pid, gb) for pid, gb in used),
        tuple(nvml.nvmlDeviceGetUUID(part) for part in _slices(nvml, whole)),
    )


def find_handle(nvml: Any, uuid: str, visible: str) -> Any | None:
    """Return NVML's handle of torch's device, or of its slice if MIG divides the GPU; None if NVML does not know it.

    Args:
        uuid: torch's, without 'GPU-' or 'MIG-'. For a MIG slice it is the slice's or the GPU's: CUDA versions differ.
    """
    named = visible.split(",")[0].strip()
    wanted = named if named.startswith("MIG-") else ""
    for name in filter(None, (wanted, f"MIG-{uuid}", f"GPU-{uuid}")):
        handle = _ask(nvml, nvml.nvmlDeviceGetHandleByUUID, name)
        if handle is not None:
            # A process sees one slice: the one it names (its first digits suffice), else the first.
            slices = [part for part in _slices(nvml, handle) if nvml.nvmlDeviceGetUUID(part).startswith(wanted)]
            return slices[0] if slices else handle
    return None


def joule_counter(device: "torch.device") -> JouleCounter | None:
    """Return the energy counter of a GPU. None for a CPU and for GPUs without one (GPUs before Volta, MIG slices, or
    NVML does not answer)."""
    nvml = _open_nvml()[0] if device.type == "cuda" else None
    if nvml is None:
        return None
    import torch

    uuid = str(torch.cuda.get_device_properties(device).uuid)
    handle = find_handle(nvml, uuid, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    count = None if handle is None else counter_of(nvml, handle)
    return count if count and count() is not None else None


def counter_of(nvml: Any, handle: Any) -> JouleCounter:
    """Return a function that reads the counter of NVML's handle."""
    last = 0.0

    def count() -> float | None:
        nonlocal last
        millijoules = _ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        # After a reload of the driver it starts again, and differences to earlier readings mean nothing.
        if millijoules is None or millijoules < last:
            return None
        last = millijoules
        return millijoules / 1000

    return count


def _open_nvml() -> tuple[Any | None, str]:
    """Return the initialised library and '', or None and why it does not answer."""
    try:
        import pynvml  # which looks for the driver's library
    except ImportError as error:
        return None, str(error)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, str(error)
    return pynvml, ""


def _ask(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer; None if this driver or this GPU has none."""
    with suppress(nvml.NVMLError):
        return question(*arguments)
    return None


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """Return the MIG slices of a GPU; none if it is not divided, or is a slice itself."""
    mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    most = _ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    slices = [_ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number) for number in range(most)]
    return [part for part in slices if part is not None]
