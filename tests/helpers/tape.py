"""A recorder for any device: it replays torch operations, as CUDA graphs replay kernels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.hardware.memory import tensors_in
from pipeline.training.cuda_graphs import Outcome

# Operations that cannot be replayed: they give the host a value, or take one from it.
HOSTS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
    torch.ops.aten.equal.default,
}
# The size of a mask's result depends on its values.
INDEXING = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}


class Tape(TorchDispatchMode):
    """Keeps every operation with the very tensors it was given and has made, and does it again in these.

    Nothing of Python runs again, so whatever was a number, a branch or a draw stays what it was. Raises AssertionError
    for an operation that reads a value back or takes a tensor from the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in HOSTS, f"{func} in a step that is to be recorded"
        given = tensors_in((args, kwargs))
        # If a step names no device, the recorder uses this one, which stands for the host.
        assert not any(tensor.is_meta for tensor in given), f"{func} of a tensor that was made on the host"
        masked = func.overloadpacket in INDEXING and any(tensor.dtype == torch.bool for tensor in tensors_in(args[1]))
        assert not masked, f"{func} by a mask in a step that is to be recorded"
        made = func(*args, **(kwargs or {}))
        # Views stay views. Operations in place write again when they are replayed.
        aliases = any(returned.alias_info for returned in func._schema.returns)
        writes = any(argument.alias_info and argument.alias_info.is_write for argument in func._schema.arguments)
        if writes or not aliases:
            new = [] if aliases else tensors_in(made)
            self.operations.append((func, args, kwargs or {}, new))
        return made

    def replay(self) -> None:
        for func, args, kwargs, made in self.operations:
            again = tensors_in(func(*args, **kwargs))
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
        with torch.device("meta"), tape:
            outcome = function()

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                tape.replay()

        return outcome, replay
