"""Functions of tensors as CUDA graphs: recorded once for each kind of arguments, then replayed in one launch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.hardware.memory import is_counting_tensors
from pipeline.hardware.transfer import Layout, Packed, unpack

# Calls of each kind before the recording: they load kernels, choose among them, and make the tensors that stay.
WARM_UP = 3

Outcome = dict[str, Tensor]


class Recorder(Protocol):
    """Records the operations of a function."""

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        """Call the function without recording it, but in the same stream."""
        ...

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """Call the function once. Return its outcome, and a function that repeats all operations on the same tensors.

        The repeated operations write into the outcome's tensors too.
        """
        ...


@dataclass(frozen=True)
class _Recording:
    arguments: Packed
    outcome: Outcome
    replay: Callable[[], None]


class Recorded:
    """Calls a function, or replays its recording if there is one for this kind of arguments.

    A kind is the layout of the arguments: containers, shapes, and all values that are not tensors. The function must
    do all its work on the device, in tensors that outlive it, and depend only on its arguments and such tensors
    (`models.objective.Objective`). The buffer of the arguments may be on the host.
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
        # A copy, because a recording writes later arguments into its buffer.
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
    """Records CUDA graphs that share one memory pool.

    This is safe because no two are replayed at once, and only copies of the outcome are read after a replay.
    """

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
        # Other threads prepare steps and write checkpoints meanwhile. Their CUDA calls are allowed and not recorded.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outcome = function()
        # Recording runs nothing. This replay runs the call.
        graph.replay()
        return outcome, graph.replay


def _copies(outcome: Outcome) -> Outcome:
    return {name: value.clone() for name, value in outcome.items()}
