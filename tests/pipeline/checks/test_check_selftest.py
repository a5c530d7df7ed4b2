"""The self-test of a GPU, run on the CPU."""

from collections.abc import Callable
from math import inf, nan

import pytest
import torch
from tape import TapeRecorder

from pipeline.checks import selftest
from pipeline.training.cuda_graphs import Outcome

CPU = torch.device("cpu")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")


@pytest.mark.slow
def test_a_device_that_computes_as_the_cpu_does_passes_the_self_test() -> None:
    recorder = TapeRecorder()
    assert selftest.find_faults(CPU, recorder) == []
    assert len(recorder.tapes) == 1 and recorder.replays == 1


@pytest.mark.slow
def test_a_recording_that_does_nothing_again_fails_the_self_test() -> None:
    class Idle(TapeRecorder):
        def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
            outcome, _ = super().record(function)
            return outcome, lambda: None

    (fault,) = selftest.find_faults(CPU, Idle())
    assert fault.startswith("CUDA graphs against eager steps: loss ") and "of step 5" in fault


def test_losses_that_differ_by_more_than_rounding_are_named() -> None:
    expected = [{"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 3.0}]
    assert selftest.difference("x", expected, [{"a": 1.0005, "b": 3.0}, {"a": 1.01, "b": 3.0}]) == ""
    off = selftest.difference("x", expected, [{"a": 1.0, "b": 3.1}, {"a": 1.0, "b": 3.0}])
    assert off == "x: loss b of step 1 is 3.1 instead of 3"
    assert "step 2" in selftest.difference("x", expected, [{"a": 1.0, "b": 3.0}, {"a": float("nan"), "b": 3.0}])
    rough = [{"a": 5.0, "b": -3.0}, {"a": 9.0, "b": 0.0}]
    assert selftest.difference("bf16", expected, rough, factor=inf) == ""
    for broken in (inf, nan):
        fault = selftest.difference("bf16", expected, [rough[0], {"a": broken, "b": 0.0}], factor=inf)
        assert fault == f"bf16: loss a of step 2 is {broken} instead of 1"


@pytest.mark.slow
@NO_CUDA
def test_a_self_test_that_crashes_or_hangs_is_a_fault_and_no_crash() -> None:
    (crashed,) = selftest.find_faults_in_child("GPU-none")
    assert crashed.startswith("its process ended with exit code 1 (RuntimeError: ")
    assert selftest.find_faults_in_child("GPU-none", seconds=0.01) == ["no result within 0.01 s"]
