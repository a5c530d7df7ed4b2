"""A trial in several processes: how many there are, and which settings they cannot follow."""

from pipeline.config.compute import ComputeConfig
from pipeline.config.schema import Config
from pipeline.config.trial_key import own_code


def processes_of(compute: ComputeConfig) -> int:
    """Return how many processes train a trial together: one for each of its GPUs. On a CPU as many share the cores."""
    gpus = compute.gpus_per_trial
    return 1 if gpus == "auto" or gpus <= 1 else int(gpus)


def parallel_misfits(config: Config) -> list[str]:
    """Return why several processes cannot train this trial together, and what to change; nothing if they can."""
    count, size = processes_of(config.compute), config.train.batch_size
    if count == 1:
        return []
    found: list[str] = []
    asked = f"compute.gpus_per_trial={count}"
    if size % count:
        found.append(
            f"{asked} divides each batch among {count} processes, but train.batch_size is {size}; set "
            f"train.batch_size to a multiple of {count}"
        )
    if config.train.cuda_graphs:
        found.append(f"train.cuda_graphs=true records the steps of one process; leave it out, or {asked}")
    if code := own_code(config):
        found.append(
            f"{asked} shows the functions of {code.name} only a part of each batch; leave it out, or use none of its "
            "functions"
        )
    return found
