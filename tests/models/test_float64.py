"""A model in float64 computes everything in float64."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.build import build_objective
from models.configs.cut import CUT, FASTCUT, CUTConfig
from models.configs.cyclegan import CYCLEGAN
from models.configs.dclgan import DCLGAN, DCLGANConfig
from models.configs.execution import Execution
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.sincut import SINCUT, SinCUTConfig, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.execution import apply_execution
from models.objective import Batch, sample_step
from pipeline.hardware.memory import tensors_in
from pipeline.training.loop import train_step
from pipeline.training.state import make_optimizers

MODELS = {
    "cut": CUT,
    "external negatives": replace(
        CUT,
        negatives=("internal", "external"),
        external=replace(CUT.external, warmup=8, queue_size=64, num_negatives=8),
    ),
    "fastcut": FASTCUT,
    "cyclegan": replace(CYCLEGAN, pool_size=2),
    "sincut": SINCUT,
    "dclgan": DCLGAN,
}
EXECUTIONS = {
    "channels first": Execution(),
    "channels last": Execution(channels_last=True),
    "recompute": Execution(recompute=True),
    "bf16": Execution("bf16", channels_last=True),
}


class FloatTypes(TorchDispatchMode):
    """Notes the operations that make tensors of each floating type. Numbers are left out: Adam counts in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[torch.dtype, set[str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tensors_in(made):
            if tensor.is_floating_point() and tensor.dim() > 0:
                self.operations.setdefault(tensor.dtype, set()).add(str(func))
        return made


def small(config: ModelConfig) -> ModelConfig:
    """The model with small networks."""
    if isinstance(config, SinCUTConfig):
        networks = {"generator": StyleGeneratorConfig(1, start_size=32), "discriminator": StyleDiscriminatorConfig(1)}
        return replace(config, **networks, projection_units=8)
    config = replace(config, generator=GeneratorConfig(4, 5), discriminator=DiscriminatorConfig(4, 3))
    contrasts = isinstance(config, CUTConfig | DCLGANConfig)
    return replace(config, num_patches=8, projection_units=8) if contrasts else config


@pytest.mark.parametrize("execution", EXECUTIONS.values(), ids=EXECUTIONS.keys())
@pytest.mark.parametrize("model", MODELS)
def test_steps_in_float64_make_no_narrower_tensor(model: str, execution: Execution) -> None:
    config = small(MODELS[model])
    rng = torch.Generator().manual_seed(0)
    objective = build_objective(config, ImageShape(32, 32), rng).double()
    apply_execution(objective, execution)
    optimizers = make_optimizers(objective, 2e-4, (0.5, 0.999))
    a, b = 2 * torch.rand(2, 2, 3, 32, 32, generator=rng, dtype=torch.float64) - 1
    with FloatTypes() as types:
        # The second step reads the pools and queues that the first one has filled.
        reports = [
            train_step(objective, optimizers, Batch(a, b), sample_step(objective, 2, rng), execution) for _ in range(2)
        ]
    narrow = {str(dtype): names for dtype, names in types.operations.items() if dtype != torch.float64}
    assert not narrow
    assert all(loss.dtype == torch.float64 for report in reports for loss in report.values())
