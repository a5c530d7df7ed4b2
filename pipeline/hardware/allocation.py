"""Divide a machine among trials: all shares together never exceed what the machine has. Pure."""

import math

from pipeline.config.compute import ComputeConfig
from pipeline.config.parallel import processes_of
from pipeline.errors import UserError
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share, per_gpu

# What a process uses on a GPU besides its tensors (context, libraries, workspaces). The paper's memory column is
# 0.75 to 0.93 GB above the live tensors of its code (docs/sweeps.md).
CUDA_ALLOWANCE_GB = 0.95
# What a process uses in main memory besides its tensors (Python, torch, MLflow), and the factor by which the allocator
# and the convolutions' workspaces exceed the live tensors. Both are measured (docs/sweeps.md).
PROCESS_ALLOWANCE_GB = 0.75
WORKSPACE_FACTOR = 2.0


def needed_gb(live_gb: float, device: str) -> float:
    """Return the device memory that a trial needs, from the peak of its live tensors (both in 10^9 bytes)."""
    if device == "cuda":
        return live_gb + CUDA_ALLOWANCE_GB
    return live_gb * WORKSPACE_FACTOR + PROCESS_ALLOWANCE_GB


def tensors_gb(share: Share) -> float:
    """Return what a trial's tensors may use of its memory: all of it, less the allowance if others share the GPU."""
    return share.memory_gb - CUDA_ALLOWANCE_GB if share.packed else share.memory_gb


def share_of(machine: Machine, compute: ComputeConfig, need_gb: float, trials: int, *, live_gb: float = 0.0) -> Share:
    """Return the share of one trial, if `trials` trials each need `need_gb` of the device: equal parts.

    need_gb, live_gb: of each process of a trial, the memory and the counted live tensors (10^9 bytes). No share of a
    GPU may be smaller than the live tensors. Raises UserError if the machine can never run such a trial.
    """
    processes, on_cuda = processes_of(compute), machine.device == "cuda"
    # On a CPU all processes of a trial are in the same memory.
    trial_gb = need_gb if on_cuda else need_gb * processes
    fitting = math.floor(machine.memory_gb / trial_gb)
    if fitting == 0:
        raise UserError(
            f"a trial needs {trial_gb:.1f} GB, but {machine.describe_memory()}. Lower data.size, train.batch_size or "
            "model.generator.channels, or free memory of the device."
        )
    require_cores(machine, compute)
    if on_cuda:
        gpus = compute.gpus_per_trial
        if gpus == "auto":
            gpus = part_of_gpu(min(fitting, math.ceil(trials / machine.gpus), compute.most_per_gpu))
        # Ray never places a trial that has part of a GPU on two GPUs.
        slots = at_once = machine.gpus // processes * per_gpu(gpus)
    else:
        fitting = min(fitting, machine.cores // processes)
        # Of the whole sweep and not of what is left of it: another number of threads sums in another order.
        gpus, slots, at_once = 0.0, fitting, min(trials, fitting)
    cpus = max(1, machine.cores // at_once) if compute.cpus_per_trial == "auto" else compute.cpus_per_trial
    slots = min(slots, machine.cores // cpus)
    in_one_memory = per_gpu(gpus) if on_cuda else slots * processes
    share = Share(cpus, gpus, machine.memory_gb / in_one_memory, slots, processes)
    if on_cuda and compute.gpus_per_trial != "auto":
        _require_room(share, machine, max(need_gb, needed_gb(live_gb, "cuda")), live_gb)
    return share


def require_cores(machine: Machine, compute: ComputeConfig) -> None:
    """Raise UserError if a trial is to have more cores or GPUs than the machine."""
    cpus, processes = compute.cpus_per_trial, processes_of(compute)
    if cpus != "auto" and cpus > machine.cores:
        raise UserError(f"compute.cpus_per_trial={cpus}, but this machine has {machine.cores} cores. Lower it.")
    if processes > (most := machine.gpus if machine.device == "cuda" else machine.cores) and processes > 1:
        found = f"{most} GPU{'s' * (most != 1)}" if machine.device == "cuda" else f"{most} cores and trains on its CPU"
        raise UserError(f"compute.gpus_per_trial={processes}, but this machine has {found}. Lower it.")


def part_of_gpu(sharing: int) -> float:
    """Return the part of a GPU for one of `sharing` trials: rounded down, since Ray counts in steps of 1/10000."""
    return math.floor(10_000 / sharing) / 10_000


def _require_room(share: Share, machine: Machine, need_gb: float, live_gb: float) -> None:
    """Raise UserError if a share of a GPU cannot hold the live tensors, which are the least that a trial needs.

    A share between them and the predicted need is allowed, since a prediction may be too high.
    """
    if tensors_gb(share) > live_gb:
        return
    parts = (hundredths / 100 for hundredths in range(1, 101))
    smallest = next((part for part in parts if machine.memory_gb / per_gpu(part) > need_gb), 1.0)
    raise UserError(
        f"compute.gpus_per_trial is {share.gpus:g}, which gives a trial {share.memory_gb:.2f} GB of GPU memory. "
        f"A trial needs {need_gb:.2f} GB, CUDA's context included. Write {smallest:g} or more, or auto."
    )
