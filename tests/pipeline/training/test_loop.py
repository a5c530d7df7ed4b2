import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from models.objective import Batch
from pipeline.config.schema import Config, TrainConfig
from pipeline.data.batches import UnpairedBatches
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.hardware.transfer import pack
from pipeline.rng import rng_for
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.loop import StepRunner, fit
from pipeline.training.prepared_steps import prefetch, prepare_step, prepare_steps
from pipeline.training.state import TrainState, build_state, learning_rate, set_learning_rate

CPU = torch.device("cpu")
TRIALS = {
    "cut": ("model=cut",),
    "external": ("model=cut", "model.negatives=[internal,external]", "model.external.warmup=255"),
    "fastcut": ("model=fastcut",),
    "cyclegan": ("model=cyclegan", "model.pool_size=2"),
    "batch of two": ("model=cut", "train.batch_size=2"),
}
# Every axis of the ablation, at values that no other trial here has.
AXES = {
    "temperature": ("model.temperature=0.3",),
    "pixels alone": ("model.places=[pixels]",),
    "any places": ("model.places=[stem,res2]",),
    "identity weight": ("model.identity_weight=0.3",),
    "no identity": ("model.identity_weight=0",),
    "number of patches": ("model.num_patches=16",),
    "no PatchNCE": ("model.nce_weight=0",),
    "external alone": ("model.negatives=[external]", "model.external.num_negatives=64", "model.external.warmup=64"),
    "minibatch": ("model.negatives=[minibatch]", "train.batch_size=2"),
    "minibatch and external": ("model.negatives=[minibatch,external]", "train.batch_size=2"),
    "no anti-aliasing": ("model.generator.antialias=false", "model.discriminator.antialias=false"),
    "flipped CUT": ("model.flip_equivariance=true",),
    "no cycle": ("model=cyclegan", "model.cycle_weight=0"),
    "no CycleGAN identity": ("model=cyclegan", "model.identity_weight=0"),
    "no pool": ("model=cyclegan", "model.pool_size=0", "train.batch_size=2"),
    "rectangles": ("data.size=[32,48]",),
    "gray to colour": ("data.channels_a=1",),
}


def setting(config: Config, cache: Path) -> tuple[UnpairedBatches, TrainConfig]:
    dataset = open_dataset(prepare(config.data, cache).folder)
    batches = UnpairedBatches(dataset, config.data.size, config.train.batch_size, config.seed)
    return batches, config.train


def flat(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.objective.state_dict().items()}


@pytest.mark.parametrize("overrides", TRIALS.values(), ids=TRIALS.keys())
def test_resumed_run_equals_uninterrupted_run(
    tiny: Callable[..., Config], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = tiny(*overrides)
    batches, train = setting(config, tmp_path)

    whole = build_state(config, CPU)
    losses = [report.losses for report in fit(whole, batches, train, config.seed)]

    stopped = build_state(config, CPU)
    half = len(losses) // 2
    for _ in islice(fit(stopped, batches, train, config.seed), half):
        pass
    save_checkpoint(tmp_path / "last.pt", stopped.state_dict())
    resumed = build_state(config, CPU)
    resumed.load_state_dict(load_checkpoint(tmp_path / "last.pt"))
    rest = [report.losses for report in fit(resumed, batches, train, config.seed)]

    assert len(rest) == len(losses) - half > 0
    for expected, found in zip(losses[half:], rest, strict=True):
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    expected_weights, found_weights = flat(whole), flat(resumed)
    assert all(torch.equal(expected_weights[name], found_weights[name]) for name in expected_weights)


@pytest.mark.parametrize("overrides", TRIALS.values(), ids=TRIALS.keys())
def test_prefetched_and_packed_steps_train_the_same(
    tiny: Callable[..., Config], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    """As for a GPU. A state between two steps is that of steps taken one by one, whatever was drawn ahead by then."""
    config = tiny(*overrides)
    batches, train = setting(config, tmp_path)
    one_by_one, ahead_of = build_state(config, CPU), build_state(config, CPU)
    numbers = range(train.epochs * batches.steps_per_epoch)
    steps = prefetch(prepare_steps(ahead_of, batches, train, config.seed, numbers))
    runner = StepRunner(ahead_of)
    for report in fit(one_by_one, batches, train, config.seed):
        prepared = next(steps)
        set_learning_rate(ahead_of.optimizers, learning_rate(train, report.epoch))
        losses = runner.run(replace(prepared, arguments=pack(prepared.arguments, pinned=False)))
        assert ahead_of.step == report.step
        assert all(torch.equal(losses[name], loss) for name, loss in report.losses.items())
        expected, found = flat(one_by_one), flat(ahead_of)
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert next(steps, None) is None


def test_draws_change_nothing_until_their_step_is_taken(tiny: Callable[..., Config], tmp_path: Path) -> None:
    for overrides in TRIALS.values():
        config = tiny(*overrides)
        state = build_state(config, CPU)
        before = flat(state)
        list(prepare_steps(state, *setting(config, tmp_path), config.seed, range(12)))
        assert all(torch.equal(before[name], value) for name, value in flat(state).items())


def test_a_batch_that_the_model_cannot_train_on_is_refused(tiny: Callable[..., Config]) -> None:
    state = build_state(tiny(), CPU)
    good, spoiled = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), torch.nan)
    for batch, said in ((Batch(good, good[:, :2]), "b is"), (Batch(spoiled, good), "a holds .* not finite")):
        with pytest.raises(ValueError, match=said):
            prepare_step(state, batch, rng_for(0, "step", 0))


def test_a_checkpoint_of_one_layout_goes_on_in_the_other(tiny: Callable[..., Config], tmp_path: Path) -> None:
    first, last = (tiny(f"train.channels_last={layout}") for layout in ("false", "true"))
    batches, train = setting(first, tmp_path)
    written = build_state(first, CPU)
    for _ in islice(fit(written, batches, train, first.seed), 2):
        pass
    save_checkpoint(tmp_path / "last.pt", written.state_dict())
    moments: list[dict[str, torch.Tensor]] = []
    for config in (first, last):
        state = build_state(config, CPU)
        state.load_state_dict(load_checkpoint(tmp_path / "last.pt"))
        next(iter(fit(state, batches, train, config.seed)))
        optimizer = state.optimizers["generator"]
        moments.append(
            {
                str(number): optimizer.state[weight]["exp_avg_sq"]
                for number, weight in enumerate(state.objective.parameters_of("generator"))
                if weight.dim() > 1  # the gradient of a bias before a norm is rounding alone
            }
        )
        for weight in state.objective.parameters_of("generator"):
            assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    for name, expected in moments[0].items():
        largest = float(expected.max())
        torch.testing.assert_close(moments[1][name], expected, rtol=1e-3, atol=1e-3 * largest, check_stride=False)


@pytest.mark.parametrize("overrides", TRIALS.values(), ids=TRIALS.keys())
def test_training_moves_every_trained_weight(
    tiny: Callable[..., Config], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = tiny(*overrides)
    batches, train = setting(config, tmp_path)
    state = build_state(config, CPU)
    before = [p.clone() for phase in state.objective.phases for p in state.objective.parameters_of(phase)]
    for _ in islice(fit(state, batches, train, config.seed), 2):
        pass
    after = [p for phase in state.objective.phases for p in state.objective.parameters_of(phase)]
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("overrides", AXES.values(), ids=AXES.keys())
def test_every_axis_trains_the_generator_with_finite_losses(
    tiny: Callable[..., Config], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = tiny(*overrides)
    batches, train = setting(config, tmp_path)
    state = build_state(config, CPU)
    before = [parameter.clone() for parameter in state.objective.translator.parameters()]
    for report in islice(fit(state, batches, train, config.seed), 3):
        assert all(math.isfinite(loss) for loss in report.losses.values())
    after = list(state.objective.translator.parameters())
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_rate_is_constant_and_then_falls_linearly_to_the_last_epoch() -> None:
    train = TrainConfig(constant_epochs=2, decay_epochs=3, learning_rate=1.0)
    assert [learning_rate(train, epoch) for epoch in range(5)] == [1, 1, 0.75, 0.5, 0.25]


def test_streams_differ_by_seed_and_purpose_and_repeat() -> None:
    def first(*key: object) -> float:
        return float(torch.rand((), generator=rng_for(*key)))  # type: ignore[arg-type]

    assert first(0, "step", 1) == first(0, "step", 1)
    assert len({first(0, "step", 1), first(0, "step", 2), first(1, "step", 1), first(0, "order", 1)}) == 4


def test_phases_update_in_the_reference_order(tiny: Callable[..., Config]) -> None:
    assert build_state(tiny("model=cut"), CPU).objective.phases == ("discriminator", "generator")
    assert build_state(tiny("model=cyclegan"), CPU).objective.phases == ("generator", "discriminator")
