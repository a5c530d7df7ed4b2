"""GPUs and what a machine says of CUDA, made up: no GPU is needed."""

from dataclasses import replace

from pipeline.hardware.cuda import CudaFacts
from pipeline.hardware.gpus import GPU, Driver, GPUProcess

H100 = GPU(0, "GPU-a", "NVIDIA H100", 80.0, 79.0, (9, 0), "default", mig=False)
USED = replace(H100, free_gb=9.0, processes=(GPUProcess(4242, 71.0),))
FULL = replace(H100, free_gb=0.5, processes=(GPUProcess(4242, 79.0), GPUProcess(9, None)))
SLICE = replace(H100, uuid="MIG-a", memory_gb=20.0, free_gb=19.5, mig=True, slices=("MIG-a", "MIG-b"))
FACTS = CudaFacts(
    torch_version="2.14.1+cu130",
    torch_cuda="13.0",
    architectures=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    available=True,
    torch_error="",
    visible=None,
    driver=Driver(True, "580.65.06", (13, 0), 1),
    gpus=(H100,),
    mps=False,
)
UNAVAILABLE = replace(FACTS, available=False, torch_error="No CUDA GPUs are available", gpus=())
OLD_DRIVER = Driver(True, "535.129.03", (12, 2), 1)
MISMATCH = Driver(True, None, (13, 0), None, "Driver/library version mismatch")
EXCLUSIVE = replace(H100, compute_mode="exclusive process")
