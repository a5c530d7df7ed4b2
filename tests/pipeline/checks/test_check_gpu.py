"""What is checked of GPUs, from facts written by hand."""

from dataclasses import replace
from typing import Any

import pytest
from gpu_facts import FACTS, FULL, H100, MISMATCH, SLICE, UNAVAILABLE, USED

from pipeline.checks import gpu
from pipeline.checks.gpu import gpu_checks, self_tests
from pipeline.config.compute import ComputeConfig


def statuses(facts: Any, config: ComputeConfig) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in gpu_checks(facts, config):
        found.setdefault(check.status, []).append(str(check))
    return found


def test_each_gpu_has_a_line_of_what_it_offers() -> None:
    found = statuses(replace(FACTS, gpus=(H100, replace(SLICE, index=1)), mps=True), ComputeConfig())
    assert found["ok"] == [
        "torch: 2.14.1+cu130, built with CUDA 13.0.",
        "NVIDIA driver: 580.65.06, supports CUDA up to 13.0.",
        "GPU 0: NVIDIA H100, 79.0 of 80.0 GB free, no other process uses it, compute capability 9.0, bf16 and TF32.",
        "GPU 1: NVIDIA H100, a MIG slice, 19.5 of 20.0 GB free, no other process uses it, compute capability 9.0, bf16 "
        "and TF32.",
    ]
    assert [line.partition(".")[0] for line in found["note"]] == ["CUDA: GPU 1 is a MIG slice of 20"]
    silent = statuses(replace(FACTS, driver=MISMATCH), ComputeConfig())
    assert "NVML does not answer (Driver/library version mismatch). Without NVML" in silent["note"][0]
    old = statuses(replace(FACTS, gpus=(replace(USED, capability=(7, 5)),)), ComputeConfig())
    assert "(process 4242 uses 71.0 GB), compute capability 7.5, no native bf16, no TF32." in old["ok"][-1]


def test_a_gpu_that_stops_a_sweep_is_a_fault_unless_the_cpu_is_wanted() -> None:
    full = replace(FACTS, gpus=(FULL,))
    assert "is full" in statuses(full, ComputeConfig())["fault"][0]
    assert "fault" not in statuses(full, ComputeConfig(device="cpu"))
    assert "hides" in statuses(replace(UNAVAILABLE, visible=""), ComputeConfig(device="cuda"))["fault"][0]
    assert "fault" not in statuses(replace(UNAVAILABLE, visible=""), ComputeConfig())


def test_each_gpu_has_a_line_of_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {"GPU-a": [], "MIG-a": ["CUDA graphs against eager steps: loss a", "no result"]}
    monkeypatch.setattr(gpu, "find_faults_in_child", faults.get)
    good, bad = self_tests(replace(FACTS, gpus=(H100, replace(SLICE, index=1))))
    assert (good.check, good.status) == ("self-test on GPU 0", "ok")
    assert (bad.check, bad.status) == ("self-test on GPU 1", "fault")
    assert bad.found == "CUDA graphs against eager steps: loss a; no result" and "nvidia-smi" in bad.mend
