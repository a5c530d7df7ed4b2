"""Peak memory, three ways: live tensors on any device, CUDA's counters, and the process."""

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
# Linux: VmHWM is the most that was resident since a 5 was written into the other file.
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages from the operation that makes them until they die.

    Each storage counts once, however many tensors view it; `peak_bytes` includes what `held` names from the
    start. The count is the same on every machine and in every run; each operation costs some Python, so it is
    taken on one step and not on all.
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
    """Whether this stands in the body of a `LiveTensors`, which sees only what is done operation by operation."""
    return any(isinstance(mode, LiveTensors) for mode in _get_current_dispatch_mode_stack())


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peaks_gb(device: torch.device) -> dict[str, float]:
    """Peaks since the last reset (10^9 bytes): of the process, and on a GPU what CUDA's allocator gave out and what it
    held for that."""
    peaks = {"process_peak_gb": process_peak_gb()}
    if device.type == "cuda":
        peaks["peak_allocated_gb"] = torch.cuda.max_memory_allocated(device) / GB
        peaks["peak_reserved_gb"] = torch.cuda.max_memory_reserved(device) / GB
    return peaks


def reset_peaks(device: torch.device) -> None:
    """Begin anew from what is held now. A system without Linux's counters keeps the process's peak."""
    with suppress(OSError):
        CLEAR_REFS.write_text("5", encoding="ascii")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def keep_freed_memory() -> None:
    """Let this process keep the memory of tensors that died for those to come, as on a GPU, until `free_spare_memory`.

    glibc gives tensors above 32 MB back to the system at once, and the next one's pages are zeroed first: a ReLU of a
    map of 33 MB takes six times as long. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def free_spare_memory(device: torch.device) -> None:
    """Give back what torch's allocator holds of a GPU for later, and glibc's of the machine."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def process_peak_gb() -> float:
    """The most memory that the process held since the last reset (10^9 bytes)."""
    with suppress(OSError):
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GB
    # Not Linux, or one without that line: since the process began.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of the machine: this error says so, or one that it came from."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, CUDA's context, cuBLAS and cuDNN raise plain errors.
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
        return True
    # A recording that runs out of memory ends with an error of its own.
    earlier = error.__cause__ or error.__context__
    return isinstance(error, RuntimeError) and earlier is not None and is_out_of_memory(earlier)


def limit_cuda(device: torch.device, memory_gb: float) -> None:
    """Keep a process's tensors to so much of a GPU's memory (10^9 bytes), so that it runs out of its own and not of its
    neighbours'; the context comes on top, since torch does not count it. Raises UserError where nothing is left."""
    if device.type == "cuda":
        if memory_gb <= 0:
            raise UserError(
                f"The trial's GPU share leaves {memory_gb:.2f} GB for tensors. It must be above 0. Raise "
                "compute.gpus_per_trial or lower compute.most_per_gpu."
            )
        # torch takes a fraction of all memory, also where only a part of it is free.
        total = torch.cuda.get_device_properties(device).total_memory / GB
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory_gb / total))
