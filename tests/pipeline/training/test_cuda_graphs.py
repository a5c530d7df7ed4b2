"""Steps that are recorded once and done again. CUDA's own recorder runs on a GPU alone; here a tape stands for it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tape import TapeRecorder
from torch import Tensor
from torch.utils._pytree import tree_flatten

from models.configs.execution import Execution
from models.objective import Batch
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config, TrainConfig
from pipeline.errors import UserError
from pipeline.hardware.memory import LiveTensors
from pipeline.hardware.transfer import Packed, pack
from pipeline.rng import rng_for
from pipeline.training.cuda_graphs import WARM_UP, Recorded, Recorder
from pipeline.training.execution import resolve_execution
from pipeline.training.loop import StepRunner
from pipeline.training.prepared_steps import prepare_step
from pipeline.training.state import TrainState, build_state, make_optimizers, set_learning_rate

CPU = torch.device("cpu")
STEPS = 16
# With how many kinds of steps are met often enough to be recorded: a flipped one is another, and one that
# finds some of its queues too short.
TRIALS = {
    "cut": ((), 1),
    "external": (("model.negatives=[internal,external]", "model.external.warmup=255"), 2),
    "all sources, hard": (
        (
            "model.negatives=[internal,external,generated,other_domain]",
            "model.external.warmup=255",
            "model.weighting=hard",
            "model.decoupled=true",
            "model.relation=semantic",
        ),
        2,
    ),
    "transport of attended": (("model.weighting=optimal_transport", "model.queries=attention"), 1),
    "top k of guided": (("model.weighting=top_k", "model.queries=discriminator"), 1),
    "fastcut": (("model=fastcut",), 2),
    "cyclegan": (("model=cyclegan", "model.pool_size=2"), 1),
    "dclgan": (("model=dclgan", "model.negatives=[internal,other_domain]"), 1),
    "batch of two": (("model=cyclegan", "model.pool_size=3", "train.batch_size=2"), 1),
    "gray to colour": (("data.channels_a=1",), 1),
    "bf16": (("train.precision=bf16",), 1),
    "recompute": (("train.recompute=true",), 1),
    "channels last": (("train.channels_last=true",), 1),
}

CROPS = (
    *("task=single", "data.root=none", "data.size=16", "train.batch_size=2", "model=sincut"),
    *("model.generator.channels=1", "model.generator.start_size=16", "model.discriminator.channels=1"),
    "train.channels_last=false",
)


def state_of(config: Config) -> TrainState:
    """A trial's state that is to be recorded, with the learning rate where a recording finds it."""
    return build_state(config, CPU, replace(resolve_execution(config.train, "cpu"), cuda_graphs=True))


def batches(config: Config) -> Callable[[int], Batch]:
    def batch(step: int) -> Batch:
        rng, shape = rng_for(0, "images", step), config.data.shape
        size = (shape.height, shape.width)
        a, b = (torch.rand(config.train.batch_size, c, *size, generator=rng) for c in (shape.channels_a, 3))
        return Batch(2 * a - 1, 2 * b - 1)

    return batch


def trained(state: TrainState, config: Config, recorder: Recorder | None = None) -> list[dict[str, Tensor]]:
    """The losses of steps whose images, draws and rates are each another."""
    batch, losses, runner = batches(config), [], StepRunner(state, recorder)
    for step in range(STEPS):
        set_learning_rate(state.optimizers, 2e-4 * (1 - step / STEPS))
        losses.append(runner.run(prepare_step(state, batch(step), rng_for(0, "step", step))))
    return losses


# The others are tried in every run.
SLOW = ("transport of attended", "top k of guided", "dclgan", "batch of two", "bf16", "recompute")


@pytest.mark.parametrize(
    ("overrides", "kinds"),
    [pytest.param(*trial, id=name, marks=[pytest.mark.slow] if name in SLOW else []) for name, trial in TRIALS.items()],
)
def test_recorded_steps_train_as_steps_that_are_taken(
    tiny: Callable[..., Config], overrides: tuple[str, ...], kinds: int
) -> None:
    trains_alike_when_recorded(tiny("train.channels_last=false", *overrides), kinds)  # as on CUDA


def test_recorded_steps_of_sincut_train_as_steps_that_are_taken() -> None:
    trains_alike_when_recorded(compose_config(CROPS), kinds=1)


def trains_alike_when_recorded(config: Config, kinds: int) -> None:
    """Bit for bit, with the same optimisers: losses, weights, queues, pools and moments."""
    taken, recorded, recorder = state_of(config), state_of(config), TapeRecorder()
    taken.execution = replace(taken.execution, cuda_graphs=False)
    expected = trained(taken, config)
    found = trained(recorded, config, recorder)

    assert len(recorder.tapes) == kinds and recorder.replays >= STEPS - 2 * (WARM_UP + 1)
    for one, two in zip(expected, found, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    leaves, structure = tree_flatten(taken.state_dict())
    found_leaves, found_structure = tree_flatten(recorded.state_dict())
    assert structure == found_structure
    for one, two in zip(leaves, found_leaves, strict=True):
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


@pytest.mark.parametrize(
    "asking",
    [
        lambda x: x * float(x.sum()),
        lambda x: x + torch.tensor([1.0]),
        lambda x: x + torch.arange(1.0),
        lambda x: x[:, None][x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.nonzero(),
    ],
    ids=["value", "constant", "host's own", "mask", "masked_select", "unique", "nonzero"],
)
def test_a_tape_refuses_what_host_and_device_must_meet_for(asking: Callable[[Tensor], Tensor]) -> None:
    x = torch.ones(1)
    with pytest.raises(AssertionError, match=r"in a step that is to be recorded|made on the host"):
        TapeRecorder().record(lambda: {"y": asking(x)})


def doubled(x: Tensor, shift: int) -> dict[str, Tensor]:
    return {"y": 2 * x + shift}


def packed(*arguments: object) -> Packed:
    return pack(arguments, pinned=torch.cuda.is_available())


def test_each_kind_of_arguments_is_recorded_once_after_its_warm_up() -> None:
    recorder = TapeRecorder()
    call = Recorded(doubled, CPU, recorder)
    for number in range(3 * (WARM_UP + 3)):
        x, shift = torch.full((1 + number % 3 // 2,), float(number)), number % 3 % 2
        assert torch.equal(call(packed(x, shift))["y"], 2 * x + shift)
    assert len(recorder.tapes) == 3 and recorder.replays == 3 * 2


def test_an_outcome_is_left_alone_by_later_calls() -> None:
    call = Recorded(doubled, CPU, TapeRecorder())
    outcomes = [call(packed(torch.full((1,), float(number)), 0))["y"] for number in range(WARM_UP + 4)]
    assert [float(outcome) for outcome in outcomes] == [2.0 * number for number in range(WARM_UP + 4)]


def test_where_tensors_are_counted_each_operation_is_done_by_itself() -> None:
    recorder = TapeRecorder()
    call = Recorded(doubled, CPU, recorder)
    for _ in range(WARM_UP + 1):
        call(packed(torch.ones(1000), 0))
    with LiveTensors() as live:
        assert torch.equal(call(packed(torch.ones(1000), 0))["y"], torch.full((1000,), 2.0))
    assert recorder.replays == 0 and live.peak_bytes >= 8000


@pytest.mark.parametrize("way", [Execution(), Execution(cuda_graphs=True)])
def test_a_checkpoint_of_another_way_leaves_a_trials_own(tiny: Callable[..., Config], way: Execution) -> None:
    config = tiny()
    state = build_state(config, CPU)
    saved = TrainState(state.objective, make_optimizers(state.objective, 9.0, (0.5, 0.9), way)).state_dict()
    for own in (state, state_of(config)):
        groups = {phase: dict(optimizer.param_groups[0]) for phase, optimizer in own.optimizers.items()}
        own.load_state_dict(saved)
        for phase, optimizer in own.optimizers.items():
            for name in ("lr", "betas", "capturable"):
                assert optimizer.param_groups[0][name] == groups[phase][name]
                assert type(optimizer.param_groups[0][name]) is type(groups[phase][name])


def test_cuda_graphs_without_cuda_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.cuda_graphs=true needs CUDA.* cpu"):
        resolve_execution(TrainConfig(cuda_graphs=True), "cpu")
