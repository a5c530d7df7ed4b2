"""What a step is counted to cost, held against the reference's figures and against steps that were taken."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.training.count_step import _build, count_step
from pipeline.training.loop import train_step
from pipeline.training.state import build_state
from pipeline.training.step_cost import has_plain_step, step_cost

# Measured from the reference code at 256 x 256, batch 1, float32: 10^12 operations, and the peak of live tensors in GB.
REFERENCE = {"cut": (1.423, 2.397), "fastcut": (0.763, 1.502), "cyclegan": (2.507, 3.922)}

# Counting takes as long as the step has operations, and this one has few.
SHALLOW = ("model.generator.blocks=1", "model.places=[down1,down2]")


@pytest.mark.parametrize("model", REFERENCE)
def test_the_plain_step_costs_what_the_references_does(model: str) -> None:
    cost = count_step(compose_config([f"model={model}", "task=horse2zebra"]), plain=True)
    operations, live_gb = REFERENCE[model]
    assert cost.operations / 1e12 == pytest.approx(operations, rel=1e-3)
    assert cost.live_gb == pytest.approx(live_gb, rel=0.005)


@pytest.mark.parametrize(
    "overrides",
    [
        SHALLOW,
        ("model=cyclegan", "model.generator.blocks=1"),
        (*SHALLOW, "model.negatives=[internal,external]"),
    ],
)
def test_counted_memory_is_that_of_a_step_that_is_taken(
    tiny: Callable[..., Config], overrides: tuple[str, ...]
) -> None:
    from models.objective import Batch, sample_step
    from pipeline.hardware.memory import GB, LiveTensors
    from pipeline.training.state import held_tensors

    # A warm queue, since the dearest step is what is counted.
    config = (
        tiny(*overrides, "model.external.warmup=64", "model.external.num_negatives=64")
        if any("external" in text for text in overrides)
        else tiny(*overrides)
    )
    state = build_state(config, torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)

    def step() -> None:
        batch = Batch(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
        train_step(state.objective, state.optimizers, batch, sample_step(state.objective, 1, rng))

    step()
    with LiveTensors(held_tensors(state)) as taken:
        step()
    assert count_step(config).live_gb == pytest.approx(taken.peak_bytes / GB, rel=0.005)


def test_counting_is_kept_for_the_next_plan_and_made_anew_for_another_model(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    first = step_cost(tiny(*SHALLOW), tmp_path)
    (kept,) = (tmp_path / "costs").glob("*.json")
    kept.write_text(kept.read_text().replace(str(first.operations), "12345"))
    # Of temperatures and weights it matters alone whether they are 0.
    alike = (
        "model.temperature=0.5",
        "model.nce_weight=3.0",
        "model.identity_weight=0.25",
        "model.external.momentum=0.9",
    )
    assert step_cost(tiny(*SHALLOW, *alike), tmp_path).operations == 12345
    assert step_cost(tiny(*SHALLOW, "model.identity_weight=0.0"), tmp_path).operations < first.operations
    assert step_cost(tiny(*SHALLOW, "model.places=[down1]"), tmp_path).operations < first.operations
    assert len(list((tmp_path / "costs").glob("*.json"))) == 3


def test_settings_that_cost_nothing_leave_the_work_the_same(tiny: Callable[..., Config]) -> None:
    others = ("model.temperature=0.5", "model.nce_weight=3.0", "model.identity_weight=0.25", "seed=3")
    assert count_step(tiny(*SHALLOW, *others)).work == count_step(tiny(*SHALLOW)).work


@pytest.mark.slow
def test_a_step_of_sincut_costs_more_with_r1_whatever_its_weight(tmp_path: Path) -> None:
    crops = (
        *("task=single", "data.root=none", "data.size=16", "train.batch_size=2", "model=sincut"),
        *("model.generator.channels=1", "model.generator.start_size=16", "model.discriminator.channels=1"),
    )
    config = compose_config(crops)
    assert not has_plain_step(config.model)
    cost = step_cost(config, tmp_path)
    assert step_cost(compose_config([*crops, "model.r1_weight=0"]), tmp_path).operations < cost.operations
    assert step_cost(compose_config([*crops, "model.r1_weight=3", "model.temperature=1"]), tmp_path) == cost
    assert len(list((tmp_path / "costs").glob("*.json"))) == 2


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("model", ["cut", "cyclegan"])
def test_a_counted_model_stores_no_weights(tiny: Callable[..., Config], model: str, plain: bool) -> None:
    config = tiny(f"model={model}", "model.generator.blocks=5")
    objective = _build(config, FakeTensorMode(allow_non_fake_inputs=True), plain=plain)
    for tensor in (*objective.parameters(), *objective.buffers()):
        assert isinstance(tensor, FakeTensor) or not tensor.dim()


@pytest.mark.slow
def test_one_of_two_processes_needs_the_memory_of_half_a_batch_and_little_more(tiny: Callable[..., Config]) -> None:
    """It also gathers what pools and queues get, and averages its gradients."""
    for model in ((*SHALLOW, "model.negatives=[minibatch,external]"), ("model=cyclegan", "model.generator.blocks=1")):
        half, whole = (count_step(tiny(*model, f"train.batch_size={size}")) for size in (2, 4))
        part = count_step(tiny(*model, "train.batch_size=4", "compute.gpus_per_trial=2"))
        assert half.live_gb <= part.live_gb < (half.live_gb + whole.live_gb) / 2
        assert half.operations <= part.operations < (half.operations + whole.operations) / 2
