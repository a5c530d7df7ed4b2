import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.hardware import memory
from pipeline.hardware.memory import (
    GB,
    LiveTensors,
    free_spare_memory,
    is_out_of_memory,
    limit_cuda,
    peaks_gb,
    process_peak_gb,
    reset_peaks,
    tensors_in,
)

MEGA = 250_000  # float32 elements of 10^6 bytes


def live_peak_gb(work: Callable[[], object], held: Iterable[Tensor]) -> float:
    with LiveTensors(held) as counter:
        work()
    return counter.peak_bytes / GB


def test_peak_is_that_of_what_lives_at_once() -> None:
    def work() -> None:
        for _ in range(5):
            first = torch.ones(MEGA)
            second = first + 1
            del first, second

    assert live_peak_gb(work, []) == 0.002


def test_views_and_writes_in_place_count_once() -> None:
    def work() -> None:
        x = torch.ones(MEGA)
        x.view(2, -1).add_(1)
        x[:10].mul_(2)

    assert live_peak_gb(work, []) == 0.001


def test_what_is_held_counts_from_the_start() -> None:
    held = torch.ones(2 * MEGA)
    assert live_peak_gb(lambda: torch.ones(MEGA), [held, held.view(-1)]) == 0.003


def test_backward_pass_is_counted_and_the_count_repeats() -> None:
    layer = torch.nn.Linear(500, 500)
    x = torch.ones(500, 500)

    def work() -> None:
        layer.zero_grad()
        layer(x).relu().sum().backward()

    peaks = {live_peak_gb(work, tensors_in(dict(layer.named_parameters()))) for _ in range(3)}
    assert len(peaks) == 1
    # Weight, the gradient of ReLU's input and the weight's gradient, 10^6 bytes each, besides the biases.
    assert 0.003 < peaks.pop() < 0.0031


def test_dead_tensors_are_forgotten() -> None:
    with LiveTensors() as counter:
        x = torch.ones(MEGA)
        assert counter.live_bytes == 10**6
        del x
        assert counter.live_bytes == 0


def test_a_tensor_in_the_place_of_a_dead_one_is_counted() -> None:
    with LiveTensors() as counter:
        for _ in range(100):
            x = torch.ones(MEGA)
            assert counter.live_bytes == 10**6
            del x


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("expected scalar type"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_faults(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_the_cpus_own_allocator_says_so_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)


def test_an_error_that_came_from_running_out_of_memory_is_known_as_such() -> None:
    """As a recording of CUDA graphs ends."""
    with pytest.raises(RuntimeError, match="capture") as caught:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    assert is_out_of_memory(caught.value)


def test_so_is_one_that_names_it_as_its_cause() -> None:
    error = RuntimeError("compiling failed")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert is_out_of_memory(error)
    other = ValueError("compute.gpus_per_trial is too small")
    other.__cause__ = error
    assert not is_out_of_memory(other)
    error.__cause__ = ValueError("no kernel")
    assert not is_out_of_memory(error)


def test_counters_of_cuda_are_read_reset_and_freed_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def asks(name: str, answer: int = 0) -> None:
        monkeypatch.setattr(torch.cuda, name, lambda *_: (asked.append(name), answer)[1])

    asks("max_memory_allocated", 2 * 10**9)
    asks("max_memory_reserved", 3 * 10**9)
    asks("reset_peak_memory_stats")
    asks("empty_cache")
    for kind in ("cpu", "cuda"):
        device = torch.device(kind)
        reset_peaks(device)
        peaks = peaks_gb(device)
        free_spare_memory(device)
        assert bool(asked) == (kind == "cuda")
        assert (peaks.pop("process_peak_gb") > 0, peaks) == (
            True,
            {"peak_allocated_gb": 2.0, "peak_reserved_gb": 3.0} if kind == "cuda" else {},
        )
    assert sorted(asked) == ["empty_cache", "max_memory_allocated", "max_memory_reserved", "reset_peak_memory_stats"]


@pytest.mark.skipif(not memory.CLEAR_REFS.exists(), reason="not Linux")
def test_the_peak_of_the_process_begins_anew() -> None:
    filled = bytearray(200_000_000)
    peak = process_peak_gb()
    del filled
    reset_peaks(torch.device("cpu"))
    assert process_peak_gb() < peak - 0.1


def test_process_has_a_peak_also_where_linux_does_not_count_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.05 < process_peak_gb() < 100
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "no-folder/none")
    reset_peaks(torch.device("cpu"))
    assert 0.05 < process_peak_gb() < 100
    (tmp_path / "none").write_text("Name:\tpython\n")
    assert 0.05 < process_peak_gb() < 100


KEPT = """
import torch
from pipeline.hardware.memory import STATUS, free_spare_memory, keep_freed_memory

def resident_gb():
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e9

keep_freed_memory()
before = resident_gb()
torch.ones(50_000_000)
kept = resident_gb()
free_spare_memory(torch.device("cpu"))
print(kept - before, kept - resident_gb())
"""


def test_memory_of_dead_tensors_stays_for_those_to_come_until_it_is_freed() -> None:
    # In a process of its own: glibc has other rules for one that was once refused memory, as above.
    ran = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert [float(word) for word in ran.stdout.split()] == pytest.approx([0.2, 0.2], abs=0.01)


@pytest.mark.parametrize("memory_gb", [0.0, -0.15])
def test_a_limit_that_leaves_nothing_is_refused_before_cuda_is_asked(memory_gb: float) -> None:
    with pytest.raises(UserError, match=r"leaves -?0\.[01][05] GB for tensors\. It must be above 0\. Raise compute"):
        limit_cuda(torch.device("cuda"), memory_gb)


def test_a_cpu_has_no_such_limit() -> None:
    limit_cuda(torch.device("cpu"), -1.0)
