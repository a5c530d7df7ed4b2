"""The machines of a Ray cluster that run trials."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.hardware.device import Machine


@dataclass(frozen=True)
class Node:
    """A machine of a cluster. id: Ray's. address: its IP address, by which people know it. words: what it has."""

    id: str
    address: str
    machine: Machine
    words: str = ""


def largest(nodes: Sequence[Node]) -> Machine:
    """Return the machine with the most memory for a trial. What does not fit there fits no node."""
    return max((node.machine for node in nodes), key=lambda machine: machine.memory_gb)


def of_one_device(nodes: list[Node], device: str) -> tuple[list[Node], list[Node]]:
    """Return the nodes with the device that trials use, and the others.

    device: 'cpu', 'cuda', or 'auto', which is CUDA if a node has a GPU: rows of one table must be comparable.
    """
    has_gpus = any(node.machine.device == "cuda" for node in nodes)
    wanted = ("cuda" if has_gpus else "cpu") if device == "auto" else device
    return (
        [node for node in nodes if node.machine.device == wanted],
        [node for node in nodes if node.machine.device != wanted],
    )
