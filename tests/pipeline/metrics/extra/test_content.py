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
    [(False, (0, 0, 0, 100, 0)), (True, (0.45714285714285713, 0, 100, 0, 0))],
    ids=["nothing found", "everything found"],
)
def test_no_score_is_missing_where_nothing_or_everything_is_found(found: bool, expected: tuple[float, ...]) -> None:
    masks = np.zeros((2, 32, 32), bool)
    masks[0, 8:16, 8:16] = True  # the second image has no object
    assert tuple(content_scores(truth_of(masks), np.full_like(masks, found)).values()) == pytest.approx(expected)


@pytest.mark.parametrize(("full", "said"), [(False, "empty"), (True, "full")])
def test_empty_and_full_masks_are_refused(full: bool, said: str) -> None:
    with pytest.raises(UserError, match=f"masks are {said}"):
        truth_of(np.full((2, 8, 8), full))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 4)])
def test_another_number_or_size_of_masks_is_refused(shape: tuple[int, ...]) -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[:, 3:5, 3:5] = True
    with pytest.raises(UserError, match=" x ".join(map(str, shape))):
        content_scores(truth_of(masks), np.zeros(shape, bool))
