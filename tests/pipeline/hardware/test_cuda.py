"""Faults of CUDA, from facts that are made up."""

import re
from dataclasses import replace

import pytest
from gpu_facts import EXCLUSIVE, FACTS, FULL, H100, MISMATCH, OLD_DRIVER, SLICE, UNAVAILABLE, USED

from pipeline.config.compute import ComputeConfig
from pipeline.hardware.cuda import CudaFacts, cuda_fault, cuda_notes, runs_on
from pipeline.hardware.device import shares_gpus
from pipeline.hardware.gpus import Driver


def test_a_gpu_that_can_be_used_has_no_fault() -> None:
    assert cuda_fault(FACTS) is None
    assert cuda_fault(replace(FACTS, gpus=(H100, SLICE), visible="0,1")) is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(UNAVAILABLE, torch_cuda=None, torch_version="2.14.1+cpu"), r"torch 2.14.1\+cpu is built without CUDA"),
        (replace(UNAVAILABLE, driver=Driver(False)), r"finds no NVIDIA driver .*\. Install the driver"),
        (replace(UNAVAILABLE, visible=""), r"CUDA_VISIBLE_DEVICES='' hides every GPU\. Unset it"),
        (replace(UNAVAILABLE, visible="-1"), r"CUDA_VISIBLE_DEVICES='-1' hides every GPU"),
        (
            replace(UNAVAILABLE, driver=OLD_DRIVER),
            r"driver 535.129.03 supports CUDA up to 12.2, and torch .* is built with CUDA 13.0\. Update the driver",
        ),
        (replace(UNAVAILABLE, driver=replace(FACTS.driver, gpus=0)), "driver is installed, and it finds no GPU"),
        (replace(UNAVAILABLE, visible="7"), "CUDA_VISIBLE_DEVICES='7' names no GPU that exists: .* 1 GPU, number 0"),
        (
            replace(UNAVAILABLE, visible="GPU-x", driver=replace(FACTS.driver, gpus=4)),
            "'GPU-x' names no GPU that exists: the machine has 4 GPUs, numbers 0 to 3",
        ),
        (
            replace(UNAVAILABLE, torch_error="CUDA unknown error", driver=MISMATCH),
            r"cannot start CUDA: CUDA unknown error; NVML says: Driver/library version mismatch\. Check",
        ),
        (
            replace(FACTS, gpus=(H100, replace(H100, index=1, name="Tesla P100", capability=(6, 0)))),
            r"GPU 1 \(Tesla P100\) has compute capability 6.0, and torch .* is built for sm_75, .*sm_120\. Install",
        ),
        (replace(FACTS, gpus=(replace(H100, compute_mode="prohibited"),)), "prohibited mode, in which no process"),
        (replace(FACTS, gpus=(EXCLUSIVE,)), r"only one process may use it, so trials cannot share it\. Set .*most_per"),
        (
            replace(FACTS, gpus=(replace(EXCLUSIVE, processes=USED.processes),)),
            r"only one process may use it, and process 4242 uses 71.0 GB\. Wait for that process",
        ),
        (
            replace(FACTS, gpus=(H100, replace(FULL, index=1))),
            r"GPU 1 .* is full: 0.5 of 80.0 GB free \(process 4242 uses 79.0 GB, process 9 uses an unknown amount\)",
        ),
        (replace(FACTS, gpus=(replace(H100, free_gb=0.0),)), "is full: .* the driver does not say who uses the rest"),
    ],
)
def test_each_fault_of_cuda_is_one_line_that_says_what_to_do(facts: CudaFacts, said: str) -> None:
    fault = cuda_fault(facts)
    assert fault is not None
    assert len(str(fault).splitlines()) == 1
    assert re.search(said, str(fault))


def test_a_gpu_for_one_process_carries_one_trial_or_those_under_mps() -> None:
    exclusive = replace(FACTS, gpus=(EXCLUSIVE,))
    assert cuda_fault(exclusive, sharing=False) is None
    assert cuda_fault(replace(exclusive, mps=True)) is None
    assert shares_gpus(ComputeConfig())
    assert not shares_gpus(ComputeConfig(most_per_gpu=1))
    assert not shares_gpus(ComputeConfig(gpus_per_trial=1.0))
    assert shares_gpus(ComputeConfig(gpus_per_trial=0.5))


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((7, 0), ("sm_75", "compute_75"), False),
        ((9, 0), ("sm_90a",), True),
        ((12, 1), ("sm_120a",), False),
        ((12, 1), ("sm_120f",), True),
        ((12, 1), ("compute_90f",), False),
        ((6, 0), (), True),
    ],
)
def test_code_runs_on_its_major_version_and_ptx_on_later_ones(
    capability: tuple[int, int], architectures: tuple[str, ...], runs: bool
) -> None:
    assert runs_on(capability, architectures) == runs


def test_what_is_usable_but_unusual_is_noted() -> None:
    quiet = replace(FACTS, mps=True)
    assert cuda_notes(quiet) == []
    (mps,) = cuda_notes(FACTS)
    assert "Multi-Process Service does not run" in mps.found
    (others,) = cuda_notes(replace(quiet, gpus=(USED,)))
    assert "Others use GPU 0: process 4242 uses 71.0 GB" in others.found
    unknown = replace(H100, free_gb=None)
    (blind,) = cuda_notes(replace(quiet, gpus=(unknown,), driver=MISMATCH))
    assert "NVML does not answer (Driver/library version mismatch)" in blind.found and "all 80.0 GB" in blind.advice
    (mig,) = cuda_notes(replace(quiet, gpus=(SLICE,)))
    assert "MIG slice of 20.0 GB, one of 2" in mig.found and "(MIG-a, MIG-b)" in mig.advice
