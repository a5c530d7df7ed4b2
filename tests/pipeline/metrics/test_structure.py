"""What of an image's structure its translation keeps: edges, and DINO's structure distance."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from pipeline.config.schema import Config, MetricConfig
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.data.stripes import draw_pictures
from pipeline.errors import UserError
from pipeline.metrics import extractors
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extra import dino
from pipeline.metrics.extra.dino import Keys, structure_distances
from pipeline.metrics.extra.edges import edges_kept
from pipeline.metrics.extra_metrics import pair_metrics, require_networks

CPU = torch.device("cpu")
SIDE, MARGIN, COUNT = 64, 8, 16
NOTHING = np.empty((0, 3, 0, 0), np.uint8)


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    """Drawn pictures (N, H, W, 3) with a margin, so that shifting them makes no seam."""
    return draw_pictures(COUNT, (SIDE + MARGIN, SIDE + MARGIN), 3, striped=False).images


def cut(wide: np.ndarray, shift: int = 0) -> Tensor:
    found = wide[:, :SIDE, shift : SIDE + shift]
    return torch.from_numpy(np.ascontiguousarray(found.transpose(0, 3, 1, 2)))


def kept(sources: Tensor, outputs: Tensor) -> float:
    return float(edges_kept(sources, outputs).mean())


def test_edges_kept_fall_with_every_pixel_of_a_shift(wide: np.ndarray) -> None:
    scores = [kept(cut(wide), cut(wide, shift)) for shift in range(MARGIN + 1)]
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert min(np.diff(scores[::-1])) > 0.02 and scores[-1] < 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 40,
        lambda x: (x - 128) * 0.5 + 128,
        lambda x: (x - 128) * 1.3 + 128,
        lambda x: 255 * (x / 255) ** 0.7,
        lambda x: x * torch.tensor([1.2, 1.0, 0.8])[:, None, None],
        lambda x: 255 - x,
    ],
    ids=["brighter", "flatter", "steeper", "gamma", "warmer", "negative"],
)
def test_edges_kept_hardly_move_with_brightness_contrast_and_colour(
    wide: np.ndarray, change: Callable[[Tensor], Tensor]
) -> None:
    assert kept(cut(wide), change(cut(wide).float()).round().clamp(0, 255).byte()) > 0.98


def test_edges_of_a_right_translation_are_kept_better_than_those_of_a_wrong_one() -> None:
    drawn = draw_pictures(COUNT, (SIDE, SIDE), 3, striped=False)
    y, x = np.mgrid[:SIDE, :SIDE]
    bars = np.where((0.8 * x + 0.6 * y) % 8 < 4, 238, 22)[..., None]
    right = np.where(~drawn.ground[..., None], bars, drawn.images).astype(np.uint8)
    spoilt = np.where(
        np.random.default_rng(0).random((COUNT, 8, 8)).repeat(8, 1).repeat(8, 2)[..., None] < 0.2, bars, right
    )
    source, right, spoilt = (
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).byte()
        for images in (drawn.images, right, spoilt)
    )
    scores = [kept(source, output) for output in (source, right, spoilt, right.roll(1, 0))]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > scores[2] + 0.1 and scores[1] > scores[3] + 0.2


def test_images_without_edges_agree_only_with_each_other(wide: np.ndarray) -> None:
    flat, other = (torch.full((1, 3, SIDE, SIDE), level, dtype=torch.uint8) for level in (77, 130))
    assert kept(flat, other) == 1
    assert kept(cut(wide)[:1], flat) == kept(flat, cut(wide)[:1]) == 0


def test_edges_do_not_depend_on_the_order_or_the_size(wide: np.ndarray) -> None:
    one, two = cut(wide), cut(wide, 3)
    assert kept(one, two) == pytest.approx(kept(two, one), abs=1e-6)
    tall = torch.randint(0, 255, (2, 3, 40, 24), dtype=torch.uint8)
    assert edges_kept(tall, tall.flip(0)).shape == (2,)
    # Smoothing is by a part of the side, so an image of twice the size has the same score.
    larger = (np.repeat(np.repeat(images, 2, axis=2), 2, axis=3) for images in (one, two))
    assert kept(*larger) == pytest.approx(kept(one, two), abs=0.02)


def test_edges_are_scored_and_know_that_higher_is_better(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny("metric.also=[edges]")
    evaluator = Evaluator(open_dataset(prepare(config.data, tmp_path).folder), config.metric, CPU, tmp_path)
    assert evaluator.evaluate(lambda images: images).scores["edges"] == pytest.approx(1, abs=1e-5)
    assert evaluator.evaluate(lambda images: images.roll(4, 3)).scores["edges"] < 0.9


TOKENS, WIDTH, HEADS, LAYERS, PATCH = 1 + 16, 24, 3, 2, 4


def small() -> VisionTransformer:
    return VisionTransformer(16, PATCH, LAYERS, HEADS, WIDTH, 4 * WIDTH, num_classes=1)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights of a small network, under DINO's names."""
    rng = torch.Generator().manual_seed(0)
    shapes = {
        **{"cls_token": (1, 1, WIDTH), "pos_embed": (1, TOKENS, WIDTH), "norm.weight": (WIDTH,), "norm.bias": (WIDTH,)},
        **{"patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,)},
    }
    layers = {
        "norm1": None,
        "attn.qkv": 3 * WIDTH,
        "attn.proj": WIDTH,
        "norm2": None,
        "mlp.fc1": 4 * WIDTH,
        "mlp.fc2": WIDTH,
    }
    for layer in range(LAYERS):
        for name, outputs in layers.items():
            inputs = 4 * WIDTH if name == "mlp.fc2" else WIDTH
            shapes[f"blocks.{layer}.{name}.weight"] = (outputs, inputs) if outputs else (WIDTH,)
            shapes[f"blocks.{layer}.{name}.bias"] = (outputs or WIDTH,)
    return {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def splices_keys(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """The keys of DINO's last layer, heads side by side, from normalised images, as DINO's own code computes them."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    x = (
        F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
        .flatten(2)
        .transpose(1, 2)
    )
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
    for layer in range(LAYERS):
        block = f"blocks.{layer}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.reshape(len(x), TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-2, -1)) * (WIDTH // HEADS) ** -0.5).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(len(x), TOKENS, WIDTH), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return k.transpose(1, 2).reshape(len(x), TOKENS, WIDTH)


def test_keys_are_those_of_dinos_own_network(weights: dict[str, Tensor]) -> None:
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = splices_keys(weights, (images / 255 - mean) / deviation)
    with torch.no_grad():
        found = Keys(small(), weights).eval()(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_structure_distance_is_the_mean_square_of_the_difference_of_similarities() -> None:
    one, two = torch.randn(2, 5, 7), torch.randn(2, 5, 7)

    def similarity(keys: Tensor) -> Tensor:
        length = keys.norm(dim=2, keepdim=True)
        return keys @ keys.transpose(1, 2) / (length @ length.transpose(1, 2))

    expected = [F.mse_loss(similarity(one)[image], similarity(two)[image]) for image in (0, 1)]
    torch.testing.assert_close(structure_distances(one, two), torch.stack(expected))
    assert structure_distances(one, 3 * one).max() < 1e-10


@pytest.fixture
def in_torchs_folder(offline: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network's weights in the place of DINO's."""
    torch.save(weights, offline / "dino_vitbase8_pretrain.pth")
    monkeypatch.setattr(dino, "VisionTransformer", lambda *_, **__: small())
    return offline / "dino_vitbase8_pretrain.pth"


def test_structure_is_scored_by_weights_in_torchs_folder(in_torchs_folder: Path, wide: np.ndarray) -> None:
    (metric,) = pair_metrics(MetricConfig(also=("dino_structure",), batch_size=4), NOTHING, CPU)
    assert set(metric.made_with) == {"dino-vit-b-8"}
    source = cut(wide).numpy()
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in cut(wide).permute(0, 2, 3, 1).numpy()])
    assert metric.score(source, source) == {"dino_structure": pytest.approx(0, abs=1e-10)}
    assert metric.score(source, blurred.transpose(0, 3, 1, 2))["dino_structure"] > 1e-6


def test_dinos_weights_that_cannot_be_had_are_named(offline: Path) -> None:
    with pytest.raises(UserError, match=r"put checkpoints/dino_vitbase8_pretrain\.pth into") as caught:
        require_networks(MetricConfig(extractor="small-conv", also=("dino_structure",)))
    assert "\n" not in str(caught.value) and str(offline.parent) in str(caught.value)


@pytest.mark.parametrize("content", [{"cls_token": torch.zeros(1)}, b"torn"])
def test_other_weights_than_dinos_are_refused_in_one_line(in_torchs_folder: Path, content: object) -> None:
    if isinstance(content, bytes):
        in_torchs_folder.write_bytes(content)
    else:
        torch.save(content, in_torchs_folder)
    with pytest.raises(UserError, match="dino-vit-b-8: its weights cannot be loaded") as caught:
        extractors.load_dino()
    assert "\n" not in str(caught.value)


def test_a_pickle_in_the_place_of_dinos_weights_is_not_run(in_torchs_folder: Path, tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"a": Touches()}, in_torchs_folder)
    with pytest.raises(UserError, match="cannot be loaded"):
        extractors.load_dino()
    assert not (tmp_path / "touched").exists()
