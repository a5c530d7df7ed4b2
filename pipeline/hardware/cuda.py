"""Check whether CUDA can be used here, and say why not. Gathering the facts and judging them are separate."""

import os
import warnings
from dataclasses import dataclass

from pipeline.errors import first_line
from pipeline.hardware.gpus import GPU, Driver, find_driver, find_gpus
from pipeline.hardware.mps import mps_runs

# A trial's CUDA context, libraries and workspaces take 0.95 GB beside its tensors (pipeline/hardware/allocation.py).
LEAST_FREE_GB = 1.0
INSTALL = "pytorch.org/get-started/locally lists the builds"


@dataclass(frozen=True)
class CudaFacts:
    """What the machine says of CUDA.

    torch_cuda: the CUDA with which torch was built, '13.0'; None for a build without CUDA. architectures: those for
    which torch has kernels, 'sm_90'. available: torch.cuda.is_available(). torch_error: torch's error if CUDA is not
    available. visible: CUDA_VISIBLE_DEVICES, None if it is not set. gpus: those that torch can use. mps: whether the
    Multi-Process Service runs.
    """

    torch_version: str
    torch_cuda: str | None
    architectures: tuple[str, ...]
    available: bool
    torch_error: str
    visible: str | None
    driver: Driver
    gpus: tuple[GPU, ...]
    mps: bool


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do."""

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}. {self.advice}"


def find_cuda() -> CudaFacts:
    """Gather the facts without creating a CUDA context. It takes milliseconds without a driver."""
    import torch  # seconds

    driver, error = find_driver(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cuda_fault reports what torch warns of
        available = torch.cuda.is_available()
        if driver.loaded and not available:
            # Starting CUDA gives the reason. Without a driver there is nothing to start.
            try:
                torch.cuda.init()
            except (RuntimeError, AssertionError) as raised:
                error = first_line(raised)
    return CudaFacts(
        torch_version=torch.__version__,
        torch_cuda=torch.version.cuda,
        architectures=tuple(torch.cuda.get_arch_list()),
        available=available,
        torch_error=error,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        driver=driver,
        gpus=find_gpus() if available else (),
        mps=mps_runs(),
    )


def cuda_fault(facts: CudaFacts, *, sharing: bool = True) -> Finding | None:
    """Return why trials cannot train on CUDA here, and what to do; None if they can. Pure.

    Args:
        sharing: whether several trials may be put on one GPU (`shares_gpus`).
    """
    if not facts.available:
        return _why_unavailable(facts)
    faults = (_gpu_fault(gpu, facts, sharing=sharing) for gpu in facts.gpus)
    return next((fault for fault in faults if fault), None)


def cuda_notes(facts: CudaFacts) -> list[Finding]:
    """Return what a user should know about a usable CUDA. Pure."""
    notes: list[Finding] = []
    for gpu in facts.gpus:
        if gpu.mig and len(gpu.slices) > 1:
            size = f"{gpu.memory_gb:.1f} GB, one of {len(gpu.slices)}"
            found = f"GPU {gpu.index} is a MIG slice of {size}. A process sees only one"
            advice = (
                "To use the others, start the sweep once for each slice, with CUDA_VISIBLE_DEVICES set to its "
                f"identifier ({', '.join(gpu.slices)}). Sweeps at the same time train no trial twice"
            )
            notes.append(Finding(found, advice))
        if gpu.free_gb is None:
            why = facts.driver.nvml_error or "it does not know the device"
            found = f"The free memory of GPU {gpu.index} is unknown, because NVML does not answer ({why})"
            advice = (
                f"A sweep counts on all {gpu.memory_gb:.1f} GB. If other programs use the GPU, run with "
                "compute.most_per_gpu=1"
            )
            notes.append(Finding(found, advice))
        elif gpu.processes:
            advice = "A sweep uses only the memory that is free. Its times are not comparable to those on a free GPU"
            notes.append(Finding(f"Others use GPU {gpu.index}: {gpu.describe_users()}", advice))
    if facts.gpus and not facts.mps:
        found = "NVIDIA's Multi-Process Service does not run, so trials on one GPU take turns"
        notes.append(Finding(found, "To let their kernels overlap, start it with nvidia-cuda-mps-control -d"))
    return notes


def runs_on(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Return whether code for one of these architectures runs on a GPU. Pure.

    Machine code ('sm_80') runs on the same major version from its minor version on; 'sm_90a' only on that version.
    PTX code ('compute_90') runs on that version and later ones. An empty list is no information, so it passes.
    """

    def runs(architecture: str) -> bool:
        kind, _, number = architecture.partition("_")
        major, minor = divmod(int(number.rstrip("af")), 10)
        if number.endswith("a"):
            return capability == (major, minor)
        is_later = kind == "compute" and not number.endswith("f") and capability >= (major, minor)
        return is_later or (capability[0] == major and capability[1] >= minor)

    return not architectures or any(map(runs, architectures))


def _why_unavailable(facts: CudaFacts) -> Finding:
    driver, version = facts.driver, facts.torch_version
    if facts.torch_cuda is None:
        return Finding(f"torch {version} is built without CUDA", f"Install a build with CUDA; {INSTALL}")
    if not driver.loaded:
        return Finding(
            "torch finds no NVIDIA driver (libcuda.so.1)",
            "Install the driver. In a container, start it with the GPU (docker run --gpus all)",
        )
    # CUDA stops reading the list at an invalid number.
    if facts.visible is not None and facts.visible.split(",")[0].strip() in ("", "-1", "NoDevFiles"):
        return Finding(
            f"CUDA_VISIBLE_DEVICES={facts.visible!r} hides every GPU",
            "Unset it, or set it to the numbers that nvidia-smi -L lists",
        )
    if driver.cuda and driver.cuda[0] < int(facts.torch_cuda.split(".")[0]):
        # Any driver of the same major version works (CUDA's minor version compatibility).
        named = f"driver {driver.version}" if driver.version else "driver"
        return Finding(
            f"the NVIDIA {named} supports CUDA up to {driver.cuda[0]}.{driver.cuda[1]}, and torch {version} is built "
            f"with CUDA {facts.torch_cuda}",
            f"Update the driver, or install a torch built with CUDA {driver.cuda[0]}; {INSTALL}",
        )
    if driver.gpus == 0:
        return Finding("the NVIDIA driver is installed, and it finds no GPU", "Check the hardware with nvidia-smi")
    if facts.visible is not None and driver.gpus is not None:
        there = "1 GPU, number 0" if driver.gpus == 1 else f"{driver.gpus} GPUs, numbers 0 to {driver.gpus - 1}"
        return Finding(
            f"CUDA_VISIBLE_DEVICES={facts.visible!r} names no GPU that exists: the machine has {there} "
            f"({facts.torch_error})",
            "Unset it, or set it to the numbers or identifiers that nvidia-smi -L lists",
        )
    nvml = f"; NVML says: {driver.nvml_error}" if driver.nvml_error else ""
    return Finding(
        f"torch cannot start CUDA: {facts.torch_error or 'it gives no reason'}{nvml}",
        "Check that nvidia-smi works. After an update of the driver, restart the machine",
    )


def _gpu_fault(gpu: GPU, facts: CudaFacts, *, sharing: bool) -> Finding | None:
    named = f"GPU {gpu.index} ({gpu.name})"
    leave_out = "leave this GPU out with CUDA_VISIBLE_DEVICES"
    if not runs_on(gpu.capability, facts.architectures):
        return Finding(
            f"{named} has compute capability {gpu.capability[0]}.{gpu.capability[1]}, and torch {facts.torch_version} "
            f"is built for {', '.join(facts.architectures)}",
            f"Install a torch built for it ({INSTALL}), or {leave_out}",
        )
    if gpu.compute_mode == "prohibited":
        return Finding(
            f"{named} is in prohibited mode, in which no process may use it",
            f"Set its mode with nvidia-smi -c DEFAULT as root, or {leave_out}",
        )
    if gpu.compute_mode == "exclusive process" and not facts.mps:
        mode = f"{named} is in exclusive-process mode, in which only one process may use it"
        mends = "nvidia-smi -c DEFAULT as root, or start MPS (nvidia-cuda-mps-control -d)"
        if gpu.processes:
            return Finding(f"{mode}, and {gpu.describe_users()}", f"Wait for that process, or use {mends}")
        if sharing:
            return Finding(f"{mode}, so trials cannot share it", f"Set compute.most_per_gpu=1, or use {mends}")
    if gpu.usable_gb < LEAST_FREE_GB:
        users = "" if gpu.processes else ", and the driver does not say who uses the rest"
        return Finding(
            f"{named} is full: {gpu.describe_memory()}{users}. A trial needs at least {LEAST_FREE_GB:g} GB",
            f"Stop what uses it, or {leave_out}",
        )
    return None
