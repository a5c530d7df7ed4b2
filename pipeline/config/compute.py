"""What a trial may use of the machines, and which machines those are."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.configs.limits import require
from pipeline.config.fields import LONGEST_NAME, Auto, Count, Positive

# Ray counts GPUs in steps of 1/10000.
RAY_STEPS = 10_000
# As an address, for Ray: start a cluster on this machine, whatever others there are.
LOCAL = "local"


@dataclass(frozen=True)
class ComputeConfig:
    """The resources of a trial. `pipeline.hardware.allocation` resolves 'auto'.

    device: 'auto' is CUDA if there is a GPU, else the CPU. cpus_per_trial: cores, and also threads. gpus_per_trial: a
    part of a GPU, or whole ones, which divide each batch (`pipeline.config.parallel`). most_per_gpu: the largest number
    of trials that 'auto' puts on one GPU. mps: 'auto' starts NVIDIA's Multi-Process Service if the trials of a sweep
    share a GPU (`pipeline.hardware.mps`). memory_gb: the main memory (10^9 bytes) for all trials on a CPU together.
    price_per_hour: of one GPU, or of a machine without GPU, in any currency. It adds a column with the price of a trial
    to the tables. stall_minutes: a trial that reports no progress for so long is killed, and goes on from its
    checkpoint.

    The others are for a Ray cluster. cluster: its address, HOST:PORT, or 'auto' for the one of this machine; '' is
    RAY_ADDRESS, and without it this machine alone. gpu: a part of the name of the GPU that trials need, such as A100;
    a row may set it. unfit_nodes: whether a node that cannot run trials is left out, or stops the sweep. placement:
    whether trials spread over the nodes, or fill one after the other.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus_per_trial: Count | Auto = "auto"
    gpus_per_trial: Positive | Auto = "auto"
    most_per_gpu: Count = 4
    mps: Literal["off", "auto"] = "off"
    memory_gb: Positive | Auto = "auto"
    price_per_hour: Positive | None = None
    stall_minutes: Positive = 120.0
    cluster: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    gpu: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    unfit_nodes: Literal["leave_out", "stop"] = "leave_out"
    placement: Literal["spread", "pack"] = "spread"

    def __post_init__(self) -> None:
        gpus = self.gpus_per_trial
        require(
            gpus == "auto" or gpus <= 1 or gpus == int(gpus),
            f"gpus_per_trial is {gpus}. Above 1 it must be a whole number, such as 2.",
        )
        # Ray drops further digits. It would then start more trials than fit into the memory.
        steps = 0 if gpus == "auto" else gpus * RAY_STEPS
        require(
            abs(steps - round(steps)) < 1e-6,
            f"gpus_per_trial is {gpus}. At most four decimals are allowed. Write {max(1, int(steps)) / RAY_STEPS:g}.",
        )


def cluster_setting(compute: ComputeConfig) -> str:
    """Return what names the Ray cluster on which trials run, NAME=HOST:PORT; '' if they run on this machine alone."""
    if compute.cluster:
        return f"compute.cluster={compute.cluster}"
    address = os.environ.get("RAY_ADDRESS", "")
    return f"RAY_ADDRESS={address}" if address not in ("", LOCAL) else ""


def cluster_address(compute: ComputeConfig) -> str:
    """Return the address of the Ray cluster on which trials run; '' for this machine alone."""
    return cluster_setting(compute).partition("=")[2]
