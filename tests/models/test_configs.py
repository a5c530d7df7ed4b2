import re
from dataclasses import replace
from itertools import chain

import pytest
import torch

from models.build import build_objective
from models.configs.contrast import AttentionConfig
from models.configs.cut import CUT, FASTCUT, CUTConfig
from models.configs.cyclegan import CYCLEGAN
from models.configs.dclgan import DCLGAN
from models.configs.fit import misfits, score_map_size, stored_numbers
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.sincut import SINCUT, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.networks.discriminator import Discriminator


def test_presets_are_the_papers() -> None:
    assert (CUT.nce_weight, CUT.identity_weight, CUT.flip_equivariance) == (1, 1, False)
    assert (FASTCUT.nce_weight, FASTCUT.identity_weight, FASTCUT.flip_equivariance) == (10, 0, True)
    assert CUT.temperature == 0.07
    assert (CYCLEGAN.cycle_weight, CYCLEGAN.identity_weight, CYCLEGAN.pool_size) == (10, 0.5, 50)
    assert CUT.places == ("pixels", "down1", "down2", "res1", "res5")


def test_sincuts_defaults_are_the_released_codes() -> None:
    assert (SINCUT.temperature, SINCUT.num_patches, SINCUT.projection_units) == (0.07, 1, 256)
    assert SINCUT.places == ("pixels", "down", "res2")
    assert (SINCUT.nce_weight, SINCUT.identity_weight) == (4, 1)
    assert (SINCUT.pixel_identity_weight, SINCUT.r1_weight) == (1, 1)
    assert SINCUT.domain_weights == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"places": ()}, "places is empty"),
        ({"places": ("res2", "res2")}, "twice"),
        ({"places": ("down1",)}, "down1; this generator has pixels, stem, down and res1 to res6"),
        ({"places": ("up",)}, "names up"),
        ({"r1_weight": -1.0}, "r1_weight is -1.0; it must be 0 to 1000000"),
        ({"pixel_identity_weight": 1e9}, "pixel_identity_weight"),
        ({"num_patches": 0}, "num_patches"),
        ({"generator": StyleGeneratorConfig(10, 1024), "discriminator": StyleDiscriminatorConfig(3)}, "to 4 or more"),
    ],
)
def test_settings_with_which_sincut_cannot_work_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SINCUT, **change)


@pytest.mark.parametrize(
    ("channels", "start_size", "said"),
    [(10, 48, "48; it must be a power of two"), (10, 4, "8 to 1024"), (0, 64, "channels"), (1, 1024, "to 2 or more")],
)
def test_generators_that_cannot_be_are_refused(channels: int, start_size: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StyleGeneratorConfig(channels, start_size)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"places": ()}, "places is empty"),
        ({"places": ("pixels", "pixels")}, "twice"),
        ({"places": ("res10",)}, "res10"),
        ({"generator": GeneratorConfig(blocks=4)}, "res5"),
        ({"negatives": ()}, "negatives is empty"),
        ({"negatives": ("internal", "minibatch")}, "contain"),
        ({"nce_weight": -1.0}, "nce_weight"),
        ({"num_patches": 0}, "num_patches"),
        ({"num_patches": 10**9}, "num_patches is 1000000000; it must be 1 to 16384"),
        ({"projection_units": 10**9}, "projection_units.*16384"),
        ({"temperature": 1e9}, "temperature.*1000000"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CUT, **change)


@pytest.mark.parametrize(
    ("config", "size", "batch", "said"),
    [
        (replace(CUT, negatives=("minibatch",)), 64, 1, "batch_size > 1"),
        (CUT, 30, 1, "30 x 30.*multiples of 4"),
        (replace(CUT, num_patches=100), 32, 1, "res1 has 64 positions"),
        (replace(CUT, num_patches=4), 16, 1, "too small for discriminator.layers=3"),
        (CYCLEGAN, 16, 1, "too small for discriminator.layers=3"),
        # Each number is within its bounds, and their product is not.
        (replace(CUT, generator=GeneratorConfig(1024, 100)), 64, 1, "121.*GB.*lower generator.channels"),
        (replace(CUT, discriminator=DiscriminatorConfig(1024, 4)), 64, 1, "lower discriminator.channels"),
        (
            replace(CUT, negatives=("external",), external=replace(CUT.external, queue_size=10**7)),
            64,
            1,
            "lower external.queue_size",
        ),
        (replace(CYCLEGAN, pool_size=100_000), 256, 1, "lower pool_size"),
        (replace(CUT, num_patches=1), 64, 1, "num_patches is 1"),
        (replace(DCLGAN, num_patches=1), 64, 1, "num_patches is 1"),
        (replace(DCLGAN, negatives=("minibatch",)), 64, 1, "batch_size > 1"),
        (DCLGAN, 32, 1, "res1 has 64 positions and res5 has 64 positions"),
        (DCLGAN, 16, 1, "too small for discriminator.layers=3"),
        (replace(DCLGAN, generator=GeneratorConfig(1024, 20)), 64, 1, "GB.*lower generator.channels"),
        (replace(CUT, weighting="top_k", top_k=256), 256, 1, "a query has 255 negatives; set model.top_k=255"),
        (
            replace(CUT, weighting="top_k", top_k=999, negatives=("minibatch", "external")),
            256,
            2,
            "a query has 766 negatives",
        ),
        (
            replace(CUT, queries="attention", attention=AttentionConfig(("res1", "down1"))),
            256,
            1,
            "down1, whose 65,536 positions are all compared with each other: 17.2 GB",
        ),
        (replace(CUT, queries="attention"), 1024, 1, "res5, whose 65,536 positions"),
        (SINCUT, 128, 16, "128 x 128, but.*crops of 64 x 64; set data.size=64, or model.generator.start_size"),
        (SINCUT, 64, 1, "SinCUT.*batch_size > 1"),
        (replace(SINCUT, num_patches=2000), 64, 16, "down has 1024 positions and res2 has 1024 positions"),
        (replace(SINCUT, generator=StyleGeneratorConfig(1024)), 64, 16, "GB.*lower generator.channels"),
    ],
)
def test_models_that_do_not_fit_the_images_are_refused(config: CUTConfig, size: int, batch: int, said: str) -> None:
    assert any(re.search(said, fault) for fault in misfits(config, ImageShape(size, size), batch))


def test_all_misfits_are_said_at_once() -> None:
    few, small, odd = replace(CUT, num_patches=100), replace(CUT, negatives=("minibatch",)), ImageShape(18, 18)
    (fault,) = misfits(few, ImageShape(32, 32), 1)
    assert "res1 has 64 positions and res5 has 64 positions" in fault and "model.num_patches=64 or less" in fault
    assert len(misfits(small, odd, 1)) == 4


@pytest.mark.parametrize(
    "config",
    [
        CUT,
        replace(CUT, negatives=("internal", "external")),
        replace(FASTCUT, negatives=("external",)),
        replace(CUT, negatives=("generated",)),
        CYCLEGAN,
        SINCUT,
        DCLGAN,
    ],
    ids=["CUT", "external", "FastCUT", "generated", "CycleGAN", "SinCUT", "DCLGAN"],
)
def test_the_numbers_that_a_model_stores_are_counted_before_it_is_built(config: ModelConfig) -> None:
    shape = ImageShape(64, 64)
    objective = build_objective(config, shape, torch.Generator().manual_seed(0))
    stored = sum(tensor.numel() for tensor in chain(objective.parameters(), objective.buffers()))
    # Biases are left out. The momentum encoder is counted whole, though it ends at the last layer of PatchNCE.
    assert 0.97 * stored <= sum(stored_numbers(config, shape).values()) <= 1.15 * stored


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_size_of_the_scores_is_that_of_the_discriminators_output(layers: int, antialias: bool) -> None:
    config = DiscriminatorConfig(2, layers, antialias)
    for size in range(4, 72, 4):
        expected = score_map_size(config, size)
        if expected >= 1:
            assert Discriminator(config)(torch.zeros(1, 3, size, size)).shape[-1] == expected
        else:
            with pytest.raises(RuntimeError):
                Discriminator(config)(torch.zeros(1, 3, size, size))


def test_a_plain_gan_is_not_held_to_the_patches_it_does_not_look_at() -> None:
    assert not misfits(replace(CUT, nce_weight=0.0), ImageShape(32, 32), 1)
    assert not misfits(replace(DCLGAN, nce_weight=0.0), ImageShape(32, 32), 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"negatives": ("internal", "external")},
            "negatives is internal, external; DCLGAN has internal, minibatch",
        ),
        ({"negatives": ()}, "negatives is empty; DCLGAN has internal"),
        ({"negatives": ("internal", "minibatch")}, "minibatch negatives contain the internal ones"),
        ({"negatives": ("internal", "internal")}, "one source twice"),
        ({"places": ("down3",)}, "places names down3"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"nce_weight": -1.0}, "nce_weight is -1.0"),
        ({"pixel_identity_weight": 1e9}, "pixel_identity_weight is 1000000000.0"),
    ],
)
def test_settings_of_dclgan_that_cannot_work_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(DCLGAN, **change)
    assert not misfits(replace(SINCUT, nce_weight=0.0), ImageShape(64, 64), 1)
