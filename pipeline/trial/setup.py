"""What every process of a trial sets up to train, and the further processes of a trial that has several."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.objective import ALONE, Ranks
from pipeline.data.batches import Batches, batches_of
from pipeline.data.dataset_cache import Dataset, open_dataset
from pipeline.environment import process_folder
from pipeline.hardware.allocation import tensors_gb
from pipeline.hardware.device import resolve_device, use_threads
from pipeline.hardware.memory import keep_freed_memory, limit_cuda
from pipeline.parallel.group import join_group, leave_group, share
from pipeline.parallel.processes import further_processes
from pipeline.training.execution import use_compile_cache
from pipeline.training.loop import fit
from pipeline.training.state import TrainState, build_state
from pipeline.trial.here import stage_data
from pipeline.trial.job import TrialJob

# Takes what the trial's checkpoint holds, shares it with the further processes, and returns the group.
Join = Callable[[Mapping[str, Any]], Ranks]


@dataclass(frozen=True)
class Setup:
    """The device, the data, and networks with their initial weights."""

    device: torch.device
    dataset: Dataset
    batches: Batches
    state: TrainState


def set_up(job: TrialJob) -> Setup:
    """Limit this process to its share of the machine, open the data, and build the networks."""
    config = job.config
    device = resolve_device(config.compute.device)
    limit_cuda(device, tensors_gb(job.share))
    keep_freed_memory()
    use_threads(job.share.threads)
    stage_data(job)
    dataset = open_dataset(Path(job.data_folder))
    return Setup(device, dataset, batches_of(dataset, config), build_state(config, device))


@contextmanager
def joined_processes(job: TrialJob) -> Iterator[Join]:
    """Start the further processes of a trial, if it has several, and end them after the body.

    The body calls what this yields, once, before it trains. This process is then the first of the group: it alone
    evaluates, records and saves. The others take their parts of its steps until it ends them. So it may stop after any
    step. Raises what `further_processes` raises.
    """
    count, minutes = job.share.processes, job.config.compute.stall_minutes
    if count == 1:
        yield lambda saved: ALONE
        return
    with tempfile.TemporaryDirectory(dir=process_folder()) as folder:
        arguments = [(job, rank, folder) for rank in range(1, count)]
        variables = [visible_gpu(rank, os.environ) for rank in range(1, count)]
        with further_processes(help_training, arguments, variables) as further:

            def join(saved: Mapping[str, Any]) -> Ranks:
                further.wait_until_ready(minutes)
                ranks = join_group(Path(folder), 0, count, device, minutes)
                share(saved)
                return ranks

            device = resolve_device(job.config.compute.device)
            try:
                yield join
            finally:
                leave_group(device)


def help_training(job: TrialJob, rank: int, folder: str, ready: Callable[[], None]) -> None:
    """Take this process's part of each step to the end of the training. Evaluate, record and save nothing."""
    setup, config = set_up(job), job.config
    if setup.state.execution.compile:
        # The first process holds the lock of its first step, which needs this one.
        use_compile_cache(Path(job.cache), job.share.threads)
    ready()
    state, minutes = setup.state, config.compute.stall_minutes
    state.ranks = join_group(Path(folder), rank, job.share.processes, setup.device, minutes)
    if saved := share(None):
        state.load_state_dict(saved)
    for _ in fit(state, setup.batches, config.train, config.seed):
        pass


def visible_gpu(rank: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that shows a process only one of the GPUs that a trial may use."""
    named = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": named[rank] if rank < len(named) else str(rank)}
