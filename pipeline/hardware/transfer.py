"""Copy tensors between the host and a device: many in one buffer, without making the host wait."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

# Tensors start at multiples of 16 bytes, so that kernels can read 16 bytes at once.
ALIGNMENT = 16

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class TensorSlot:
    """The position of one tensor in a buffer."""

    shape: torch.Size
    dtype: torch.dtype
    first_byte: int
    bytes: int


@dataclass(frozen=True)
class Layout:
    """The structure of a tree, its leaves with a `TensorSlot` for each tensor, and the size of the buffer.

    Trees with equal layouts differ only in the values of their tensors.
    """

    structure: TreeSpec
    leaves: tuple[Any, ...]
    bytes: int


@dataclass(frozen=True)
class Packed:
    """A tree whose tensors lie in one buffer, which is copied to a device at once."""

    layout: Layout
    buffer: Tensor

    def to(self, device: torch.device) -> "Packed":
        """Copy the buffer to a device. From pinned memory the copy is asynchronous."""
        return Packed(self.layout, self.buffer.to(device, non_blocking=True))


def pack(tree: Any, *, pinned: bool) -> Packed:
    """Copy the tensors of a tree (on the host) into one buffer.

    Args:
        pinned: use page-locked memory, which a GPU reads directly. torch keeps the buffer until the GPU has read it.
    """
    leaves, structure = tree_flatten(tree)
    slots: list[Any] = []
    end = 0
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            first = -(-end // ALIGNMENT) * ALIGNMENT
            end = first + leaf.nbytes
            slots.append(TensorSlot(leaf.shape, leaf.dtype, first, leaf.nbytes))
        else:
            slots.append(leaf)
    layout = Layout(structure, tuple(slots), end)
    buffer = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    for leaf, slot in zip(leaves, slots, strict=True):
        if isinstance(leaf, Tensor):
            _view(buffer, slot).copy_(leaf)
    return Packed(layout, buffer)


def unpack(packed: Packed) -> Any:
    """Return the tree, whose tensors are views of the buffer."""
    leaves = [
        _view(packed.buffer, leaf) if isinstance(leaf, TensorSlot) else leaf  # a value of the tree itself
        for leaf in packed.layout.leaves
    ]
    return tree_unflatten(leaves, packed.layout.structure)


def copy_to_host(tree: Tree) -> Callable[[], Tree]:
    """Start copying a tree's tensors to the host. Return a function that waits for the copy and returns it.

    The copy has the values of the GPU's work that is queued so far. Later work does not change it.
    """
    copied = tree_map_only(Tensor, _host_copy, tree)
    devices = {leaf.device for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor) and leaf.is_cuda}
    events = [torch.cuda.current_stream(device).record_event() for device in devices]

    def wait() -> Tree:
        for event in events:
            event.synchronize()
        return copied

    return wait


def _view(buffer: Tensor, slot: TensorSlot) -> Tensor:
    return buffer[slot.first_byte : slot.first_byte + slot.bytes].view(slot.dtype).view(slot.shape)


def _host_copy(tensor: Tensor) -> Tensor:
    own = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
    return own.copy_(tensor.detach(), non_blocking=True)
