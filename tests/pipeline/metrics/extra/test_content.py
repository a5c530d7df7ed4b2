"""Faults are planted into images whose truth is known. Each score answers to its fault, and not to the others."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.stripes import GRASS, Pictures, draw_pictures, find_striped
from pipeline.errors import UserError
from pipeline.metrics.extra.content import content_scores, truth_of

Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]
SIDE = 64


@pytest.fixture(scope="module")
def drawn() -> Pictures:
    return draw_pictures(64, (SIDE, SIDE), 1, striped=True)


def images_of(drawn: Pictures) -> Images:
    return np.ascontiguousarray(drawn.images.transpose(0, 3, 1, 2))


def put(source: Images, where: Masks, images: Images) -> Images:
    """Return the images with the source's pixels where the masks (N, H, W) are true."""
    return np.where(where[:, None], source, images)


def ground(images: Images) -> Images:
    return np.broadcast_to(GRASS.astype(np.uint8)[:, None, None], images.shape)


def stripes(images: Images) -> Images:
    return np.broadcast_to(np.where(np.arange(SIDE) // 4 % 2, 238, 22).astype(np.uint8), images.shape)


def left(drawn: Pictures, columns: int) -> Masks:
    """The ground of the first columns."""
    return drawn.ground & (np.arange(SIDE) < columns)


def of_first(masks: Masks) -> Masks:
    """The masks of the first image alone."""
    return masks & (np.arange(len(masks)) == 0)[:, None, None]


def doubled(drawn: Pictures) -> Images:
    """Every image with one striped disc more, in that corner in which there is most ground."""
    images = images_of(drawn)
    y, x = np.mgrid[:SIDE, :SIDE]
    for image, free in zip(images, drawn.ground, strict=True):
        discs = [np.hypot(y - row, x - column) < 6 for row in (7, SIDE - 8) for column in (7, SIDE - 8)]
        disc = max(discs, key=lambda disc: int((disc & free).sum()))
        image[:, disc & free] = stripes(image)[:, disc & free]
    return images


def every_second_missing(drawn: Pictures) -> Images:
    without = put(ground(images_of(drawn)), ~drawn.ground, images_of(drawn))
    return np.where(np.arange(len(without))[:, None, None, None] % 2, images_of(drawn), without)


# Of each fault, the scores that answer with their range. All other scores stay those of a perfect translation.
PERFECT = {
    "object_iou": (0.96, 1),
    "size_kept": (0.98, 1),
    "ground_changed": (0, 0.5),
    "objects_lost": (0, 0),
    "objects_invented": (0, 0),
}
FAULTS: dict[str, tuple[Callable[[Pictures], Images], dict[str, tuple[float, float]]]] = {
    "none": (images_of, {}),
    "moved by 2 pixels": (lambda drawn: np.roll(images_of(drawn), 2, axis=3), {"object_iou": (0.8, 0.86)}),
    "moved by 4 pixels": (lambda drawn: np.roll(images_of(drawn), 4, axis=3), {"object_iou": (0.65, 0.71)}),
    "swapped between images": (
        lambda drawn: np.roll(images_of(drawn), 1, axis=0),
        {"size_kept": (-0.5, 0.5), "object_iou": (0.3, 0.5), "objects_lost": (15, 40), "ground_changed": (2, 10)},
    ),
    "missing in every second image": (every_second_missing, {"objects_lost": (45, 55)}),
    "doubled": (doubled, {"objects_invented": (80, 100)}),
    "a twelfth of the ground striped": (
        lambda drawn: put(stripes(images_of(drawn)), left(drawn, 5), images_of(drawn)),
        {"ground_changed": (8, 13)},
    ),
    # Changed ground is found, so one spoilt image looks like one with a large object.
    "all ground of one image striped": (
        lambda drawn: put(stripes(images_of(drawn)), of_first(drawn.ground), images_of(drawn)),
        {"ground_changed": (0.5, 2), "size_kept": (0.4, 0.7)},
    ),
    # Then nothing tells the objects from the ground: all of it overlaps with them.
    "all ground striped": (
        lambda drawn: put(stripes(images_of(drawn)), drawn.ground, images_of(drawn)),
        {"ground_changed": (99, 100), "object_iou": (0, 0.6), "size_kept": (-1, 0)},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_score_answers_to_its_fault_and_not_to_the_others(drawn: Pictures, name: str) -> None:
    plant, answers = FAULTS[name]
    scores = content_scores(truth_of(drawn.blobs), find_striped(plant(drawn)))
    for score, (low, high) in (PERFECT | answers).items():
        assert low <= scores[score] <= high, f"{score} is {scores[score]}"


def test_no_object_is_found_in_untranslated_images() -> None:
    brown = draw_pictures(16, (SIDE, SIDE), 0, striped=False)
    assert not find_striped(images_of(brown)).any()


@pytest.mark.parametrize(
    ("found", "expected"),
    [(False, (0, 100, 0)), (True, (100, 0, 0))],
    ids=["nothing found", "everything found"],
)
def test_no_score_is_missing_where_nothing_or_everything_is_found(found: bool, expected: tuple[float, ...]) -> None:
    truth = truth_of(squares(8, 0, 8, 4))
    overlap, *others = content_scores(truth, np.full(truth.objects.shape, found)).values()
    near = [int((truth.near[image] > 0).sum()) for image in (0, 2, 3)]
    assert overlap == pytest.approx(np.mean(np.divide([64, 64, 16], near)) if found else 0)
    assert others == [0, *expected]


def squares(*sides: int) -> Masks:
    """An image with a square for each side; 0 is no object."""
    masks = np.zeros((len(sides), 32, 32), bool)
    for mask, side in zip(masks, sides, strict=True):
        mask[8 : 8 + side, 8 : 8 + side] = True
    return masks


def test_objects_of_one_size_have_no_score_of_sizes() -> None:
    assert "size_kept" not in content_scores(truth_of(squares(8, 8, 8, 0)), squares(8, 8, 8, 0))


@pytest.mark.parametrize(("kept", "expected"), [(2, 0), (3, 1)])
def test_fewer_than_three_images_without_a_lost_object_say_nothing_of_sizes(kept: int, expected: float) -> None:
    masks = squares(6, 8, 10, 12)
    found = masks & (np.arange(4) < kept)[:, None, None]
    assert content_scores(truth_of(masks), found)["size_kept"] == pytest.approx(expected)


def test_a_tiny_object_of_the_truth_makes_no_objects_of_specks() -> None:
    masks = squares(8, 10, 12)
    masks[0, 30, 30] = True
    specks = np.random.default_rng(0).random(masks.shape) < 0.01
    scores = content_scores(truth_of(masks), masks | specks)
    assert scores["objects_invented"] == 0 and scores["ground_changed"] > 0.5


def test_pixels_of_unknown_truth_are_no_ground() -> None:
    masks, known = squares(8, 10), np.ones((2, 32, 32), bool)
    known[:, 24:] = False
    found = masks.copy()
    found[:, 22:] = True
    scores = content_scores(truth_of(masks, known), found & known)
    ground = truth_of(masks).ground
    expected = 100 * ground[:, 22:24].sum() / ground[:, :24].sum()
    assert scores["ground_changed"] == pytest.approx(expected)


@pytest.mark.parametrize(("full", "said"), [(False, "masks are empty"), (True, "in or near an object")])
def test_empty_and_full_masks_are_refused(full: bool, said: str) -> None:
    with pytest.raises(UserError, match=said):
        truth_of(np.full((2, 8, 8), full))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 4)])
def test_another_number_or_size_of_masks_is_refused(shape: tuple[int, ...]) -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[:, 3:5, 3:5] = True
    with pytest.raises(UserError, match=" x ".join(map(str, shape))):
        content_scores(truth_of(masks), np.zeros(shape, bool))
