"""A function of tensors as a CUDA graph: recorded once for each kind of its arguments, and from then on one launch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.hardware.memory import is_counting_tensors
from pipeline.hardware.transfer import Layout, Packed, unpack

# Calls of each kind before one is recorded: they load kernels, choose among them, and make what stays between calls.
WARM_UP = 3

Outcome = dict[str, Tensor]


class Recorder(Protocol):
    """How operations are recorded."""

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        """Call the function as it is, where it will be recorded."""
        ...

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """Call it once; its outcome, and what does all its operations again on the same tensors, outcome included."""
        ...


@dataclass(frozen=True)
class _Recording:
    arguments: Packed
    outcome: Outcome
    replay: Callable[[], None]


class Recorded:
    """Calls a function; once a kind of its arguments has been recorded, its operations are done again instead.

    A kind is the layout of the arguments: containers, shapes, and the values of whatever is not a tensor. The function
    must do all its work on the device, in tensors that outlive it, and depend on nothing but its arguments and such
    tensors (`models.objective.Objective`). The arguments' buffer may lie on the host.
    """

    def __init__(self, function: Callable[..., Outcome], device: torch.device, recorder: Recorder) -> None:
        self._function, self._device, self._recorder = function, device, recorder
        self._calls: Counter[Layout] = Counter()
        self._recordings: dict[Layout, _Recording] = {}

    def __call__(self, arguments: Packed) -> Outcome:
        kind = arguments.layout
        if kind in self._recordings and not is_counting_tensors():
            recording = self._recordings[kind]
            recording.arguments.buffer.copy_(arguments.buffer, non_blocking=True)
            recording.replay()
            return _copies(recording.outcome)
        # A copy, since a recording writes later arguments into its own.
        own = Packed(kind, arguments.buffer.to(self._device, copy=True, non_blocking=True))

        def call() -> Outcome:
            return self._function(*unpack(own))

        self._calls[kind] += 1
        if self._calls[kind] <= WARM_UP or is_counting_tensors():
            return self._recorder.warm_up(call)
        outcome, replay = self._recorder.record(call)
        self._recordings[kind] = _Recording(own, outcome, replay)
        return _copies(outcome)


class CUDARecorder:
    """By CUDA graphs, which share one pool of memory: no two are replayed at once, and nothing but what is copied out
    is read after a replay."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        before = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            outcome = function()
        before.wait_stream(self._stream)
        return outcome

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # Other threads prepare steps and write checkpoints meanwhile; their calls are not the recording's matter.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outcome = function()
        # Recording runs nothing. This replay is the call itself.
        graph.replay()
        return outcome, graph.replay


def _copies(outcome: Outcome) -> Outcome:
    return {name: value.clone() for name, value in outcome.items()}
