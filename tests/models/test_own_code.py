"""Sources of negatives and losses from the user's own file."""

import re
from dataclasses import replace

import pytest
import torch

from models.build import build_objective
from models.configs.contrast import ExternalConfig
from models.configs.cut import CUT, CUTConfig
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.own_code import OwnCode, OwnCodeError
from models.cut import CUTObjective
from models.objective import Batch, Objective, sample_step

TINY = replace(
    CUT,
    generator=GeneratorConfig(4, 5),
    discriminator=DiscriminatorConfig(4, 2),
    num_patches=8,
    projection_units=8,
    external=ExternalConfig(queue_size=32, warmup=8, num_negatives=8),
)
TWINS = """
import torch
from models import negatives

def same(patches):
    return negatives.internal(patches)

def moved(source, output):
    return (output - source).abs().mean()

def _helper(patches):
    return None
"""
CODE = OwnCode("twins.py", TWINS)
QUEUE = OwnCode("queue.py", "from models.negatives import external\n\ndef queue(patches): return external(patches)")

OTHER = OwnCode(
    "other.py",
    "def others(patches): return patches.query_BPD @ patches.other_BND.mT\n"
    "def hostile(patches): return patches.query_BPD @ patches.generated_BND.mT\n",
)


def built(config: CUTConfig) -> CUTObjective:
    objective = build_objective(config, ImageShape(16, 16), torch.Generator().manual_seed(0))
    assert isinstance(objective, CUTObjective)
    return objective


def losses_of(objective: Objective, steps: int = 3) -> dict[str, float]:
    """The generator's losses in the last of some steps, without an update."""
    rng = torch.Generator().manual_seed(3)
    losses: dict[str, torch.Tensor] = {}
    for _ in range(steps):
        images = Batch(torch.rand(1, 3, 16, 16, generator=rng), torch.rand(1, 3, 16, 16, generator=rng))
        losses = objective.losses("generator", images, objective.generate(images, sample_step(objective, 1, rng)))
    return {name: float(loss.detach()) for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("code", "own", "ours"),
    [
        (CODE, ("same",), ("internal",)),
        (QUEUE, ("queue",), ("external",)),
        (QUEUE, ("internal", "queue"), ("internal", "external")),
        (OTHER, ("internal", "others"), ("internal", "other_domain")),
        (OTHER, ("hostile",), ("generated",)),
    ],
)
def test_a_users_source_that_does_what_one_of_ours_does_gives_the_same_losses(
    code: OwnCode, own: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    losses = losses_of(built(replace(TINY, negatives=own, code=code)))
    assert losses == losses_of(built(replace(TINY, negatives=ours)))
    assert losses["nce_a"] > 0


def test_a_users_most_similar_negatives_are_those_of_top_k() -> None:
    code = OwnCode(
        "hardest.py",
        "from models.negatives import internal\n\ndef hardest(patches): return internal(patches).topk(3).values",
    )
    losses = losses_of(built(replace(TINY, negatives=("hardest",), code=code)))
    assert losses == losses_of(built(replace(TINY, weighting="top_k", top_k=3)))


def test_queues_are_kept_only_if_a_function_that_is_used_reads_them() -> None:
    reading = OwnCode(
        "reading.py",
        "def latest(patches): return _similar(patches, patches.query_BPD)\n"
        "def _similar(patches, query): return query @ patches.queued_ND.mT\n"
        "def own(patches): ...\n"
        "def loss(source, output): return recurse(loss)\n",
    )
    kept = {
        used: replace(TINY, negatives=("internal", used), code=reading).keeps_queues
        for used in ("latest", "own", "external")
    }
    assert kept == {"latest": True, "own": False, "external": True}
    assert not replace(TINY, code=reading, extra_loss="loss").keeps_queues
    assert built(replace(TINY, negatives=("latest",), code=reading)).external
    assert not built(replace(TINY, negatives=("own",), code=reading)).external


def test_a_loss_gets_no_patches_so_its_words_switch_nothing_on() -> None:
    code = OwnCode("words.py", "def words(source, generated): return generated.mean() + external(source)")
    config = replace(TINY, code=code, extra_loss="words")
    assert not config.generates_negatives and not config.keeps_queues and not config.compares_domains


def test_the_extra_loss_is_weighted_and_compares_what_the_generator_saw_with_what_it_made() -> None:
    config = replace(TINY, code=CODE, extra_loss="moved", flip_equivariance=True)
    seen: list[bool] = []
    for seed in range(8):
        objective, rng = built(config), torch.Generator().manual_seed(seed)
        images = Batch(*torch.rand(2, 1, 3, 16, 16, generator=rng))
        fakes = objective.generate(images, sample_step(objective, 1, rng))
        source = images.a.flip(-1) if fakes.flipped else images.a
        by_weight = [
            built(replace(config, extra_weight=weight)).losses("generator", images, fakes)["extra"].item()
            for weight in (1.0, 0.5)
        ]
        expected = (fakes.b - source).abs().mean().item()
        assert by_weight == pytest.approx([expected, expected / 2])
        seen.append(fakes.flipped)
    assert set(seen) == {True, False}


def test_without_weight_or_name_there_is_no_extra_loss() -> None:
    assert "extra" not in losses_of(built(replace(TINY, code=CODE)))
    assert "extra" not in losses_of(built(replace(TINY, code=CODE, extra_loss="moved", extra_weight=0)))


def test_gradients_of_the_extra_loss_reach_the_generator_alone() -> None:
    objective = built(replace(TINY, code=CODE, extra_loss="moved"))
    images = Batch(*torch.rand(2, 1, 3, 16, 16))
    fakes = objective.generate(images, sample_step(objective, 1, torch.Generator()))
    torch.autograd.backward(objective.losses("generator", images, fakes)["extra"])
    assert all(parameter.grad is not None for parameter in objective.generator.parameters())
    assert all(parameter.grad is None for parameter in objective.discriminator.parameters())


def test_building_a_model_runs_none_of_its_code() -> None:
    """So translating with a stranger's checkpoint does not, either."""
    objective = built(replace(TINY, negatives=("mine",), code=OwnCode("no.py", "def mine(p): ...\nraise SystemExit")))
    objective.load_state_dict(objective.state_dict())
    objective.translator.translate(torch.zeros(1, 3, 16, 16))
    with pytest.raises(SystemExit):
        losses_of(objective)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def own(patches):\n  return patches.query_BPD[:, :3]", "mine.py: own returned (1, 3, 8)"),
        ("def own(patches):\n  return patches.query_BPD[0]", "mine.py: own returned (8, 8)"),
        ("def own(patches):\n  return 1", "mine.py: own returned int"),
        ("import nothing_of_this_name\ndef own(patches): ...", "mine.py cannot be run: ModuleNotFoundError"),
    ],
)
def test_a_faulty_source_is_named(text: str, said: str) -> None:
    with pytest.raises(OwnCodeError, match=re.escape(said)):
        losses_of(built(replace(TINY, negatives=("own",), code=OwnCode("mine.py", text))))


def test_an_extra_loss_that_is_no_number_is_named() -> None:
    code = OwnCode("mine.py", "def image(source, output):\n  return output")
    with pytest.raises(OwnCodeError, match=r"mine.py: image returned a tensor \(1, 3, 16, 16\)"):
        losses_of(built(replace(TINY, code=code, extra_loss="image")))


def test_text_that_is_not_python_is_refused_with_its_line() -> None:
    with pytest.raises(OwnCodeError, match=r"bad\.py, line 2: "):
        OwnCode("bad.py", "a = 1\ndef broken(:\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"negatives": ("own",)}, "negatives names own; the sources are internal, external, minibatch"),
        ({"negatives": ("_helper",), "code": CODE}, "twins.py has same, moved"),
        ({"extra_loss": "moved"}, "code is not set"),
        ({"extra_loss": "internal", "code": CODE}, "extra_loss is 'internal'"),
        ({"extra_weight": 2.0}, "extra_loss is not set"),
        ({"code": OwnCode("x.py", "def internal(patches): ...")}, "give yours another name"),
    ],
)
def test_names_that_nothing_has_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(TINY, **changes)  # pyright: ignore[reportArgumentType]
