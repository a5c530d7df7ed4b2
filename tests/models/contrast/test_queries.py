"""Chosen queries against independent statements."""

from typing import Literal

import pytest
import slow_selection as slow
import torch
from torch import Tensor

from models.configs.contrast import AttentionConfig, GuidedConfig
from models.contrast.queries import attended, least_real, sample_guided
from models.networks.projector import gather_patches

HEIGHT, WIDTH, COUNT = 5, 9, 6
Window = Literal["global", "local", "local_global"]


def features(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, HEIGHT, WIDTH, generator=rng, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("window", ["global", "local", "local_global"])
def test_attention_takes_the_positions_of_lowest_entropy_and_mixes_as_the_equation_says(window: Window) -> None:
    z_BCHW = features()
    weights_BPS = attended(z_BCHW, COUNT, AttentionConfig(window=window))
    choosing: slow.Window = "global" if window == "global" else "local"
    mixing: slow.Window = "local" if window == "local" else "global"
    for image, z_CHW in enumerate(z_BCHW):
        z = z_CHW.flatten(1)
        rows = slow.attention_rows(z, HEIGHT, WIDTH, mixing)
        for found, position in zip(
            weights_BPS[image], slow.lowest_entropy(z, HEIGHT, WIDTH, COUNT, choosing), strict=True
        ):
            torch.testing.assert_close(found, torch.stack(rows[position]))
            mixed = gather_patches(z_CHW[None], found[None, None])[0, 0]
            torch.testing.assert_close(mixed, slow.routed(rows, z, position))


@pytest.mark.parametrize("window", ["global", "local", "local_global"])
def test_attention_has_a_gradient_into_the_source_that_equals_finite_differences(window: Window) -> None:
    config, output = AttentionConfig(window=window), features(1).flip(-1)

    def mixed(z_BCHW: Tensor) -> Tensor:
        return gather_patches(output, attended(z_BCHW, COUNT, config))

    assert torch.autograd.gradcheck(mixed, features(1).requires_grad_(), fast_mode=True)


def test_attention_of_bf16_features_is_that_of_the_same_features_in_float32() -> None:
    narrow = features(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = attended(narrow, COUNT, AttentionConfig())
    assert torch.equal(found, attended(narrow.float(), COUNT, AttentionConfig()))


def test_attention_of_a_map_in_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attended(features(), COUNT, AttentionConfig(window="local"))
    monkeypatch.setattr("models.contrast.queries.ROWS", 7)
    torch.testing.assert_close(attended(features(), COUNT, AttentionConfig(window="local")), whole)


def test_an_image_of_a_batch_attends_as_if_alone() -> None:
    together = attended(features(), COUNT, AttentionConfig())
    for image, z_CHW in enumerate(features()):
        torch.testing.assert_close(attended(z_CHW[None], COUNT, AttentionConfig())[0], together[image])


def test_guided_queries_are_the_least_real_candidates_and_as_many_random_ones() -> None:
    config, rng = GuidedConfig(oversample=3, random_share=0.34), torch.Generator().manual_seed(0)
    draws = sample_guided(HEIGHT * WIDTH, COUNT, config, rng)
    assert len(set(draws.tolist())) == len(draws) == 2 + 3 * COUNT
    scores = torch.randn(2, 1, 3, 4, generator=rng, dtype=torch.float64)
    chosen = least_real(scores, draws, (HEIGHT, WIDTH), COUNT, config)
    for image in range(2):
        assert chosen[image, :2].tolist() == draws[:2].tolist()
        lowest = slow.lowest_scored(scores[image, 0], HEIGHT, WIDTH, draws[2:].tolist(), COUNT - 2)
        # Enlarged scores have ties.
        found, expected = (
            sorted(slow.resized(scores[image, 0], HEIGHT, WIDTH, place) for place in places)
            for places in (chosen[image, 2:].tolist(), lowest)
        )
        assert found == pytest.approx(expected)


def test_guided_queries_of_a_small_map_have_all_other_positions_as_candidates_and_no_repeats() -> None:
    draws = sample_guided(10, 8, GuidedConfig(), torch.Generator().manual_seed(0))
    assert sorted(draws.tolist()) == list(range(10))
    chosen = least_real(torch.randn(1, 1, 2, 2), draws, (2, 5), 8, GuidedConfig())
    assert chosen.shape == (1, 8) and len(set(chosen[0].tolist())) == 8


@pytest.mark.parametrize(("share", "extra"), [(0.0, 0), (1.0, 8)])
def test_the_random_share_goes_from_none_to_all(share: float, extra: int) -> None:
    draws = sample_guided(10, 8, GuidedConfig(random_share=share), torch.Generator().manual_seed(0))
    chosen = least_real(torch.randn(1, 1, 2, 2), draws, (2, 5), 8, GuidedConfig(random_share=share))
    assert chosen[0, :extra].tolist() == draws[:extra].tolist() and chosen.shape == (1, 8)
