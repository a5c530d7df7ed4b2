from dataclasses import replace

import pytest
import torch

from models.configs import (
    CUT,
    CYCLEGAN,
    FASTCUT,
    CUTConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageShape,
    check_model_fits,
    score_map_size,
)
from models.networks.discriminator import Discriminator


def test_presets_are_the_papers() -> None:
    assert (CUT.nce_weight, CUT.identity_weight, CUT.flip_equivariance) == (1, 1, False)
    assert (FASTCUT.nce_weight, FASTCUT.identity_weight, FASTCUT.flip_equivariance) == (10, 0, True)
    assert CUT.temperature == 0.07
    assert (CYCLEGAN.cycle_weight, CYCLEGAN.identity_weight, CYCLEGAN.pool_size) == (10, 0.5, 50)
    assert CUT.places == ("pixels", "down1", "down2", "res1", "res5")


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
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CUT, **change)


@pytest.mark.parametrize(
    ("config", "size", "batch", "said"),
    [
        (replace(CUT, negatives=("minibatch",)), 64, 1, "batch_size > 1"),
        (CUT, 30, 1, "two halvings"),
        (replace(CUT, num_patches=100), 32, 1, "res1 has 64 positions"),
        (replace(CUT, num_patches=4), 16, 1, "too small for discriminator.layers=3"),
        (CYCLEGAN, 16, 1, "too small for discriminator.layers=3"),
    ],
)
def test_models_that_do_not_fit_the_images_are_refused(config: CUTConfig, size: int, batch: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_model_fits(config, ImageShape(size, size), batch)


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
    check_model_fits(replace(CUT, nce_weight=0.0), ImageShape(32, 32), 1)
