"""This machine: its devices, cores and memory."""

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
from pipeline.config.schema import ComputeConfig, TrainConfig
from pipeline.errors import UserError
from pipeline.hardware.cgroup import memory_limit, own_groups
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.gpus import GPU, find_gpus


@dataclass(frozen=True)
class Machine:
    """The kind of device that trials use, its name, the number of cores and GPUs, and the memory (10^9 bytes).

    On a CPU all trials share memory_gb. On GPUs memory_gb is what is free on the fullest GPU, since others may use them
    too. devices: what is known of each GPU.
    """

    device: Literal["cpu", "cuda"]
    name: str
    cores: int
    gpus: int
    memory_gb: float
    devices: tuple[GPU, ...] = ()

    def describe_memory(self) -> str:
        """Return 'NAME has 24.0 GB'; of GPUs, how much of the fullest is free and who uses the rest."""
        if not self.devices:
            return f"{self.name} has {self.memory_gb:.1f} GB"
        fullest = min(self.devices, key=lambda gpu: gpu.usable_gb)
        return f"GPU {fullest.index} ({fullest.name}) has {fullest.describe_memory()}"


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: 'auto' is CUDA if available, else the CPU.

    Raises UserError, with the reason, for a CUDA that is not available.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError(f"compute.device=cuda: {cuda_fault(find_cuda())}. Or train on the CPU: compute.device=cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def find_machine(config: ComputeConfig) -> Machine:
    """Return this machine, as far as trials may use it. Raises UserError for a device that it does not have."""
    device = resolve_device(config.device)
    cores = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        gpus = find_gpus()
        free = min(gpu.usable_gb for gpu in gpus)
        return Machine("cuda", device_name(device), cores, len(gpus), free, gpus)
    memory_gb = main_memory_bytes() / 1e9 if config.memory_gb == "auto" else config.memory_gb
    return Machine("cpu", device_name(device), cores, 0, memory_gb)


def describe_devices(machine: Machine, config: ComputeConfig) -> str:
    """Return the line 'Running on …', with the devices and, for the CPU, the reason."""
    if machine.device == "cuda":
        gpus = [f"GPU {gpu.index} ({gpu.name}, {gpu.describe_memory()})" for gpu in machine.devices]
        return f"Running on {', '.join(gpus)}."
    fault = None if config.device == "cpu" else cuda_fault(find_cuda())
    why = fault.found if fault else "compute.device=cpu"
    return f"Running on the CPU ({machine.name}, {machine.cores} cores): {why}."


def shares_gpus(config: ComputeConfig) -> bool:
    """Return whether several trials may run on one GPU."""
    gpus = config.gpus_per_trial
    return config.most_per_gpu > 1 if gpus == "auto" else gpus <= 0.5


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
    """Limit this process to so many threads, in torch and in numpy's linear algebra, which KID uses."""
    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def device_name(device: torch.device) -> str:
    """Return the manufacturer's name of the device. Times are comparable only between devices of one name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main_memory_bytes() -> int:
    """Return the main memory of the machine, or what a container may use of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit(own_groups())
    return physical if limit is None else min(physical, limit)
