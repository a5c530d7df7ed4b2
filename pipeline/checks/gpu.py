"""Check CUDA, the driver and each GPU."""

from pipeline.checks.check import Check
from pipeline.checks.selftest import find_faults_in_child
from pipeline.config.compute import ComputeConfig
from pipeline.hardware.cuda import CudaFacts, cuda_fault, cuda_notes
from pipeline.hardware.device import shares_gpus
from pipeline.hardware.gpus import GPU


def gpu_checks(facts: CudaFacts, config: ComputeConfig) -> list[Check]:
    """Check torch, the driver and each GPU, from facts that `find_cuda` gathered.

    If CUDA is not usable, the reason is a fault for compute.device=cuda. For auto it is a note: a sweep uses the CPU.
    """
    driver = facts.driver
    built = f"built with CUDA {facts.torch_cuda}" if facts.torch_cuda else "built without CUDA"
    checks = [Check("torch", "ok", f"{facts.torch_version}, {built}")]
    if driver.loaded:
        found = driver.version or "unknown version"
        if driver.cuda:
            found += f", supports CUDA up to {driver.cuda[0]}.{driver.cuda[1]}"
        if driver.nvml_error:
            found += f"; NVML does not answer ({driver.nvml_error})"
            advice = "Without NVML, the free memory, the processes and the energy of a GPU are unknown"
            checks.append(Check("NVIDIA driver", "note", found, advice))
        else:
            checks.append(Check("NVIDIA driver", "ok", found))
    if fault := cuda_fault(facts, sharing=shares_gpus(config)):
        stops = config.device == "cuda" or (config.device == "auto" and facts.available)
        checks.append(Check("CUDA", "fault" if stops else "note", fault.found, fault.advice))
    checks += [Check(f"GPU {gpu.index}", "ok", describe_gpu(gpu)) for gpu in facts.gpus]
    return [*checks, *(Check("CUDA", "note", note.found, note.advice) for note in cuda_notes(facts))]


def describe_gpu(gpu: GPU) -> str:
    """Describe a GPU: name, memory, other processes, compute capability, number formats, compute mode."""
    kind = f"{gpu.name}, a MIG slice" if gpu.mig else gpu.name
    major, minor = gpu.capability
    # Ampere was the first with both (torch.cuda.is_bf16_supported, is_tf32_supported).
    arithmetic = "bf16 and TF32" if gpu.capability >= (8, 0) else "no native bf16, no TF32"
    users = "" if gpu.processes or gpu.free_gb is None else ", no other process uses it"
    mode = "" if gpu.compute_mode in ("default", "unknown") else f", {gpu.compute_mode} mode"
    return f"{kind}, {gpu.describe_memory()}{users}, compute capability {major}.{minor}, {arithmetic}{mode}"


def self_tests(facts: CudaFacts) -> list[Check]:
    """Train a few steps on each GPU, in one process per GPU."""
    checks: list[Check] = []
    for gpu in facts.gpus:
        faults = find_faults_in_child(gpu.uuid)
        name = f"self-test on GPU {gpu.index}"
        if faults:
            advice = "Check the driver and the GPU (nvidia-smi -q), and the version of torch"
            checks.append(Check(name, "fault", "; ".join(faults), advice))
        else:
            checks.append(Check(name, "ok", "five steps give the CPU's losses, also with CUDA graphs; bf16 is finite"))
    return checks
