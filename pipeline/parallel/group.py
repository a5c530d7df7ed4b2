"""The group of processes that train one trial. Only this file knows torch.distributed.

All of them run on one machine. They meet through a file in a private folder, and exchange tensors over the loopback
interface (gloo, on CPUs) or between the GPUs (NCCL).
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from models.objective import Ranks
from pipeline.errors import first_line


class GroupError(Exception):
    """Another process of the group ended, or did not answer in time."""


def join_group(folder: Path, rank: int, size: int, device: torch.device, minutes: float) -> Ranks:
    """Meet the other processes of the group. Returns when all have come.

    folder: the same for all, and empty. minutes: how long to wait for another process, here and in each exchange.
    Raises GroupError.
    """
    # By default, gloo uses the interface that the host's name leads to, which others can reach.
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    with _as_group_error():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{folder.absolute()}/meeting",
            rank=rank,
            world_size=size,
            timeout=timedelta(minutes=minutes),
        )
    return Ranks(rank, size, gather, average)


def leave_group(device: torch.device) -> None:
    """Leave the group, so that this process can join another one."""
    # NCCL would wait for the others, which have ended. A trial on GPUs is the only one of its process.
    if device.type == "cpu" and dist.is_initialized():
        dist.destroy_process_group()


def gather(part: Tensor) -> Tensor:
    """Return the parts (B, ...) of all processes, in their order, as one tensor without gradient."""
    own = part.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with _as_group_error():
        dist.all_gather(parts, own)
    return torch.cat(parts)


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors, in place, by their means over the processes. All go in one message."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    with _as_group_error():
        dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def share(content: Any) -> Any:
    """Return the content (tensors in containers, on the CPU) that the first process has given."""
    box = [content]
    with _as_group_error():
        dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def _as_group_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise GroupError(first_line(error)) from error
