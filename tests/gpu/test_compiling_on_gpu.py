"""Compiled networks train as others do. In its own file, since compiling takes a minute or more."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_trials import MODELS
from test_ways_on_gpu import APART, apart, trained

from pipeline.config.schema import Config
from pipeline.training.execution import use_compile_cache
from pipeline.training.state import TrainState

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.mark.parametrize("model", ["fastcut", "cyclegan"])
def test_compiled_networks_train_as_others(
    model: str,
    small: Callable[..., Config],
    state_on: Callable[..., TrainState],
    course: Callable[[Config], Any],
    cuda: torch.device,
    tmp_path: Path,
) -> None:
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    blocks = {"cyclegan": 1, "fastcut": 5}[model]  # PatchNCE uses the fifth block
    plain, way = (
        small(*MODELS[model], f"model.generator.blocks={blocks}", f"train.compile={compiled}")
        for compiled in ("false", "true")
    )
    states = state_on(plain), state_on(way)
    with use_compile_cache(tmp_path, 8):
        for state, config in zip(states, (plain, way), strict=True):
            trained(state, config, course)
    assert apart(*states, plain) < APART[model]
