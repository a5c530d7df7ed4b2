"""A recorder of operations that any device has: what CUDA graphs do with kernels, done with torch's own operations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.graphs import Outcome

# What a device cannot be told to do again: to give the host a value, or to take one from it.
HOSTS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


class Tape(TorchDispatchMode):
    """Keeps every operation with the very tensors it was given and has made, and does it again in these.

    Nothing of Python runs again, so whatever was a number, a branch or a draw stays what it was. Raises AssertionError
    for an operation by which host and device wait for each other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in HOSTS, f"{func} in a step that is to be recorded"
        made = func(*args, **(kwargs or {}))
        # A view is one still; what is written in place is written again by the operation itself.
        aliases = any(returned.alias_info for returned in func._schema.returns)
        writes = any(argument.alias_info and argument.alias_info.is_write for argument in func._schema.arguments)
        if writes or not aliases:
            new = [] if aliases else [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
            self.operations.append((func, args, kwargs or {}, new))
        return made

    def replay(self) -> None:
        for func, args, kwargs, made in self.operations:
            again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for old, new in zip(made, again if made else [], strict=True):
                old.copy_(new)


class TapeRecorder:
    """Records on tapes, and counts them."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []
        self.replays = 0

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        return function()

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        tape = Tape()
        self.tapes.append(tape)
        with tape:
            outcome = function()

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                tape.replay()

        return outcome, replay
