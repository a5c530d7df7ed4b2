"""What a trial's seconds and memory depend on beside its work: how steps are carried out, on what, and beside whom.

Trials write it as tags, and forecasts read these tags. Both use the words of this file, so they cannot differ.
"""

from collections.abc import Mapping

import torch

from models.execution import Execution


def precision_name(execution: Execution, device: str) -> str:
    """Return the arithmetic of a step on a kind of device, in words."""
    tf32 = device == "cuda" and torch.backends.cudnn.allow_tf32
    wide = "float32 (convolutions in TF32)" if tf32 else "float32"
    return f"bf16 and {wide}" if execution.precision == "bf16" else wide


def execution_name(execution: Execution, device: str) -> str:
    """Return all of a step's execution that its time depends on, in words; the tag `execution`."""
    return ", ".join([precision_name(execution, device), *execution.switches])


def timed_name(device_name: str, threads: int, execution: str, packed: str, *, mps: bool) -> str:
    """Return all that a step's time depends on, in words; the tag `timed`."""
    return f"{_before(device_name, str(threads))}{execution}{_behind(packed)}" + (", under MPS" if mps else "")


def execution_in(tags: Mapping[str, str]) -> str:
    """Return how a recorded trial was carried out.

    Records from before the tag `execution` have it inside of `timed`. Those from before `timed` had no switches, so
    their precision is all of it.
    """
    if "execution" in tags:
        return tags["execution"]
    if "timed" in tags:
        before = _before(tags.get("device_name", ""), tags.get("threads", ""))
        return tags["timed"].removeprefix(before).removesuffix(_behind(tags.get("packed", "")))
    return tags.get("precision", "float32")


def ran_under_mps(tags: Mapping[str, str]) -> bool:
    """Return whether a recorded trial ran under MPS. Records from before the tag did not."""
    return tags.get("mps", "no") == "yes"


def _before(device_name: str, threads: str) -> str:
    return f"on {device_name} with {threads} threads, "


def _behind(packed: str) -> str:
    return f", {packed}"
