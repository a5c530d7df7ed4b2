"""Tensors between the host and a device: many in one buffer, and copies that the host need not wait for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

# A tensor begins at a multiple of this, so that kernels can read 16 bytes at once.
ALIGNMENT = 16

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Place:
    """Where one tensor lies in a buffer."""

    shape: torch.Size
    dtype: torch.dtype
    first_byte: int
    bytes: int


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a tree lie in a buffer of so many bytes, and all of the tree that is no tensor.

    Equal layouts are trees that differ in the values of their tensors alone.
    """

    structure: TreeSpec
    leaves: tuple[Any, ...]
    bytes: int


@dataclass(frozen=True)
class Packed:
    """A tree whose tensors lie in one buffer, which travels to a device in one copy."""

    layout: Layout
    buffer: Tensor

    def to(self, device: torch.device) -> "Packed":
        """The same on a device. A copy from pinned memory lets the host go on meanwhile."""
        return Packed(self.layout, self.buffer.to(device, non_blocking=True))


def pack(tree: Any, *, pinned: bool) -> Packed:
    """Put the tensors of a tree (on the host) into one buffer.

    pinned: in page-locked memory, which a GPU reads by itself. torch keeps such a buffer until the GPU has read it.
    """
    leaves, structure = tree_flatten(tree)
    placed: list[Any] = []
    end = 0
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            first = -(-end // ALIGNMENT) * ALIGNMENT
            end = first + leaf.nbytes
            placed.append(Place(leaf.shape, leaf.dtype, first, leaf.nbytes))
        else:
            placed.append(leaf)
    layout = Layout(structure, tuple(placed), end)
    buffer = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    for leaf, place in zip(leaves, placed, strict=True):
        if isinstance(leaf, Tensor):
            _view(buffer, place).copy_(leaf)
    return Packed(layout, buffer)


def unpack(packed: Packed) -> Any:
    """The tree, whose tensors are views of the buffer."""
    leaves = [
        _view(packed.buffer, leaf) if isinstance(leaf, Place) else leaf  # a value of the tree itself
        for leaf in packed.layout.leaves
    ]
    return tree_unflatten(leaves, packed.layout.structure)


def copy_to_host(tree: Tree) -> Callable[[], Tree]:
    """Copy a tree's tensors to the host as they are now; later work changes the copy no more. Gives what waits for it.

    From a GPU the copies are queued behind its work so far, and the host goes on.
    """
    copied = tree_map_only(Tensor, _host_copy, tree)
    devices = {leaf.device for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor) and leaf.is_cuda}
    events = [torch.cuda.current_stream(device).record_event() for device in devices]

    def wait() -> Tree:
        for event in events:
            event.synchronize()
        return copied

    return wait


def _view(buffer: Tensor, place: Place) -> Tensor:
    return buffer[place.first_byte : place.first_byte + place.bytes].view(place.dtype).view(place.shape)


def _host_copy(tensor: Tensor) -> Tensor:
    own = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
    return own.copy_(tensor.detach(), non_blocking=True)
