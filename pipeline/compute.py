"""What this machine offers: its device, cores and memory."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from threadpoolctl import threadpool_limits

from models.execution import Execution
from pipeline.errors import UserError
from pipeline.settings import ComputeConfig, TrainConfig

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """The kind of device that trials use, how many there are, its name, and the memory (10^9 bytes) of each.

    On a CPU the cores are the devices, and the memory is the one they share.
    """

    device: Literal["cpu", "cuda"]
    name: str
    cores: int
    gpus: int
    memory_gb: float


def resolve_device(name: str) -> torch.device:
    """'auto' is CUDA where there is some, else the CPU. Raises UserError for a CUDA that is not there."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("compute.device=cuda: torch sees no CUDA device here; use compute.device=auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def find_machine(config: ComputeConfig) -> Machine:
    """The machine this process runs on, as far as trials may use it. Raises UserError for a device it lacks."""
    device = resolve_device(config.device)
    cores = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return Machine("cuda", device_name(device), cores, torch.cuda.device_count(), memory / 1e9)
    memory_gb = _main_memory_bytes() / 1e9 if config.memory_gb == "auto" else config.memory_gb
    return Machine("cpu", device_name(device), cores, 0, memory_gb)


def execution_of(train: TrainConfig, device: str) -> Execution:
    """How steps are carried out on a kind of device. 'auto' is what was measured to be fastest there, and the reference
    where nothing was measured (docs/performance.md). Raises UserError for a way that needs what is not here."""
    compiler = os.environ.get("CXX", "g++")
    if train.compile and not shutil.which(compiler):
        raise UserError(f"train.compile=true needs a C++ compiler: there is no {compiler} here; install it, or set CXX")
    if train.cuda_graphs and device != "cuda":
        raise UserError(f"train.cuda_graphs=true needs CUDA, and this trial would run on {device}; leave it out")
    channels_last = device == "cpu" if train.channels_last == "auto" else train.channels_last
    return Execution(train.precision, channels_last, train.recompute, train.compile, train.cuda_graphs)


def keep_compiled(cache: Path, threads: int) -> FileLock:
    """Let what torch.compile makes lie in the cache, for every trial of this machine, and be made by so many threads.
    Who holds the lock compiles while the others wait, instead of doing the same."""
    folder = cache / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder.resolve())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    return FileLock(folder / "compiling.lock")


def use_threads(count: int) -> None:
    """Keep this process to so many cores: torch's, and numpy's linear algebra, of which KID is made."""
    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def device_name(device: torch.device) -> str:
    """What the maker calls the device; times are compared between devices of one name alone."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _main_memory_bytes() -> int:
    """What the machine has, or what a container may use of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:  # no such limit on this system
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical
