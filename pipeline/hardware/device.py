"""This machine: its devices, cores and memory."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config.compute import ComputeConfig
from pipeline.errors import UserError
from pipeline.hardware.control_groups import memory_limit, own_groups
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.gpus import GPU, find_driver, find_gpus

if TYPE_CHECKING:
    import torch


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


def device_kind(name: str) -> Literal["cpu", "cuda"]:
    """Return the kind of device of a name: 'auto' is CUDA if available, else the CPU.

    Raises UserError, with the reason, for a CUDA that is not available.
    """
    # Without a driver, torch need not be imported, which takes seconds.
    available = name != "cpu" and find_driver().loaded and _torch_has_cuda()
    if name == "cuda" and not available:
        raise UserError(f"compute.device=cuda: {cuda_fault(find_cuda())}. Or train on the CPU: compute.device=cpu")
    return "cuda" if available else "cpu"


def _torch_has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def resolve_device(name: str) -> "torch.device":
    """Return torch's device of a name: see `device_kind`."""
    import torch

    return torch.device(device_kind(name))


def find_machine(config: ComputeConfig) -> Machine:
    """Return this machine, as far as trials may use it. Raises UserError for a device that it does not have."""
    kind = device_kind(config.device)
    cores = len(os.sched_getaffinity(0))
    if kind == "cuda":
        gpus = find_gpus()
        free = min(gpu.usable_gb for gpu in gpus)
        return Machine(kind, device_name(kind), cores, len(gpus), free, gpus)
    memory_gb = main_memory_bytes() / 1e9 if config.memory_gb == "auto" else config.memory_gb
    return Machine(kind, device_name(kind), cores, 0, memory_gb)


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


def use_threads(count: int) -> None:
    """Limit this process to so many threads, in torch and in numpy's linear algebra, which KID uses."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def device_name(device: "torch.device | str") -> str:
    """Return the manufacturer's name of the device. Times are comparable only between devices of one name."""
    if str(device).startswith("cuda"):
        import torch

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
