from dataclasses import replace

import pytest

from models.configs import CUT, FASTCUT, CUTConfig, GeneratorConfig, check_model_fits


def test_presets_are_the_papers() -> None:
    assert (CUT.nce_weight, CUT.identity_weight, CUT.flip_equivariance) == (1, 1, False)
    assert (FASTCUT.nce_weight, FASTCUT.identity_weight, FASTCUT.flip_equivariance) == (10, 0, True)
    assert CUT.temperature == 0.07
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
        (replace(CUT, num_patches=16), 12, 1, "res1 has 9 positions"),
    ],
)
def test_models_that_do_not_fit_the_images_are_refused(config: CUTConfig, size: int, batch: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_model_fits(config, size, size, batch)
