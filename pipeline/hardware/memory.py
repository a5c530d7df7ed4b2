"""Peak memory by three counters: live tensors on any device, CUDA's counters, and the process."""

import ctypes
import resource
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves

from pipeline.errors import UserError

GB = 1e9
# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Linux: VmHWM is the peak of resident memory since a 5 was written into clear_refs.
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages from the operation that creates them until they are freed.

    Each storage counts once, however many tensors view it. The tensors `held` count from the start. The count is the
    same on every machine and in every run. Counting slows each operation, so it is done for one step and not for all.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self._seen: dict[int, weakref.finalize[Any, Any]] = {}
        for tensor in held:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return outputs

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        identity, size = storage._cdata, storage.nbytes()
        if identity in self._seen or size == 0:
            return
        self._seen[identity] = weakref.finalize(storage, self._forget, identity, size)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _forget(self, identity: int, size: int) -> None:
        self._seen.pop(identity, None)
        self.live_bytes -= size


def is_counting_tensors() -> bool:
    """Return whether a `LiveTensors` is active. It sees only operations that are dispatched one by one."""
    return any(isinstance(mode, LiveTensors) for mode in _get_current_dispatch_mode_stack())


def tensors_in(tree: Any) -> list[Tensor]:
    """Return every tensor in nested containers."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peaks_gb(device: torch.device) -> dict[str, float]:
    """Return the peaks since the last reset (10^9 bytes): the process, and on a GPU CUDA's allocated and reserved
    memory."""
    peaks = {"process_peak_gb": process_peak_gb()}
    if device.type == "cuda":
        peaks["peak_allocated_gb"] = torch.cuda.max_memory_allocated(device) / GB
        peaks["peak_reserved_gb"] = torch.cuda.max_memory_reserved(device) / GB
    return peaks


def reset_peaks(device: torch.device) -> None:
    """Reset the peaks to what is held now. Without Linux's counters the process's peak stays."""
    with suppress(OSError):
        CLEAR_REFS.write_text("5", encoding="ascii")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for later ones, as on a GPU, until `free_spare_memory`.

    glibc returns tensors above 32 MB to the system at once, and the system zeroes the pages of the next one. A ReLU of
    a 33 MB map then takes six times as long. Other C libraries are not changed.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def free_spare_memory(device: torch.device) -> None:
    """Return to the system what torch's allocator keeps of a GPU, and glibc of the main memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def process_peak_gb() -> float:
    """Return the peak memory of the process since the last reset (10^9 bytes)."""
    with suppress(OSError):
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GB
    # Without that line: the peak since the process started.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a GPU or the machine ran out of memory, by this error or one of its causes."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, CUDA's context, cuBLAS and cuDNN raise plain errors.
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
        return True
    # A recording of CUDA graphs that runs out of memory ends with another error.
    earlier = error.__cause__ or error.__context__
    return isinstance(error, RuntimeError) and earlier is not None and is_out_of_memory(earlier)


def limit_cuda(device: torch.device, memory_gb: float) -> None:
    """Limit a process's tensors to memory_gb of a GPU (10^9 bytes), so that trials on one GPU do not take each other's.

    The CUDA context is extra, since torch does not count it. Raises UserError if nothing is left for tensors.
    """
    if device.type == "cuda":
        if memory_gb <= 0:
            raise UserError(
                f"The trial's GPU share leaves {memory_gb:.2f} GB for tensors. It must be above 0. Raise "
                "compute.gpus_per_trial or lower compute.most_per_gpu."
            )
        # torch takes a fraction of all memory, even if only a part is free.
        total = torch.cuda.get_device_properties(device).total_memory / GB
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory_gb / total))
