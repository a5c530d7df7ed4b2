"""What a trial's seconds and memory depend on besides its work: device, threads, execution, and trials beside it.

Trials record these conditions as tags, and forecasts read the tags. Both use the words of this file.
"""

from collections.abc import Mapping

from analysis.records.names import Tag
from models.configs.execution import Execution


def precision_name(execution: Execution, device: str) -> str:
    """Return the arithmetic of a step on a kind of device, in words."""
    tf32 = False
    if device == "cuda":
        import torch  # a plan on a CPU does not need it

        tf32 = torch.backends.cudnn.allow_tf32
    wide = "float32 (convolutions in TF32)" if tf32 else "float32"
    return f"bf16 and {wide}" if execution.precision == "bf16" else wide


def execution_name(execution: Execution, device: str, processes: int = 1) -> str:
    """Return all of a step's execution that its time depends on, in words; the tag `execution`."""
    together = [f"in {processes} processes"] if processes > 1 else []
    return ", ".join([precision_name(execution, device), *execution.switches, *together])


def timed_name(device_name: str, threads: int, execution: str, packed: str, *, mps: bool) -> str:
    """Return all that a step's time depends on, in words; the tag `timed`."""
    return f"{_prefix(device_name, str(threads))}{execution}, {packed}" + (", under MPS" if mps else "")


def execution_in(tags: Mapping[str, str]) -> str:
    """Return how a recorded trial was executed.

    Records without the tag `execution` have it inside of `timed`. Records without `timed` are older than all switches,
    so their precision is all of it.
    """
    if Tag.EXECUTION in tags:
        return tags[Tag.EXECUTION]
    if Tag.TIMED in tags:
        prefix = _prefix(tags.get(Tag.DEVICE_NAME, ""), tags.get(Tag.THREADS, ""))
        return tags[Tag.TIMED].removeprefix(prefix).removesuffix(f", {tags.get(Tag.PACKED, '')}")
    return tags.get(Tag.PRECISION, "float32")


def ran_under_mps(tags: Mapping[str, str]) -> bool:
    """Return whether a recorded trial ran under MPS. Records without the tag did not."""
    return tags.get(Tag.MPS, "no") == "yes"


def _prefix(device_name: str, threads: str) -> str:
    return f"on {device_name} with {threads} threads, "
