"""Score what a translation keeps of its input's content, from the truth: masks of where objects must be and are found.

N images of (H, W) pixels. A found pixel is near an object of the truth, in an invented object, or changed ground. So a
moved, a lost and an invented object, and a changed ground, are told apart. A fifth score asks whether large objects
stay large. Changed ground counts as size there, so it answers where much more ground is changed in some images.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import UserError

Masks = NDArray[np.bool_]

# A pixel is near its nearest object if its distance is at most this part of the radius of a disc of the object's area.
NEAR = 0.5
# An object is lost if less than this part of its pixels is found.
LOST = 0.25
# Found pixels that touch each other, and no pixel near an object, are an invented object if they are at least this part
# as thick as the thinnest object, and not larger than the largest. Otherwise they are changed ground.
THINNEST = 0.5
# Thinner parts, in pixels, are no objects, however thin the thinnest object of the truth is. 1 is a single pixel.
LEAST_RADIUS = 2.0
# Fewer pairs of sizes have a correlation of nearly 1 or -1 by chance.
FEWEST_SIZES = 3


@dataclass(frozen=True)
class Truth:
    """Where the objects of the test images are.

    objects (N, H, W): the number of the object that a pixel is in, from 1 in each image; 0 on the ground. near
    (N, H, W): the number of the object that a pixel is in or near; 0 away from all. ground (N, H, W): the pixels away
    from all objects, where the truth is known. count: of all objects. largest: the largest object's area in pixels.
    thinnest: the smallest radius, in pixels, of the largest disc within an object.
    """

    objects: NDArray[np.int32]
    near: NDArray[np.int32]
    ground: Masks
    count: int
    largest: int
    thinnest: float


def truth_of(masks: Masks, known: Masks | None = None) -> Truth:
    """Return the objects of masks (N, H, W): pixels that touch each other, also at a corner, are one object.

    known (N, H, W): the pixels whose truth is known; by default all. Raises UserError if there is no object in any
    image, or no ground.
    """
    objects = np.stack([_connected(mask) for mask in masks])
    if not objects.any():
        raise UserError("the truth of test A has no object in any image: its masks are empty. Mark the objects.")
    near = np.stack([_near(of_image) for of_image in objects])
    ground = (near == 0) & (True if known is None else known)
    if not ground.any():
        raise UserError(
            "the truth of test A has no ground: every pixel is in or near an object. Mark the objects alone."
        )
    areas = np.concatenate([_areas(of_image) for of_image in objects])
    thickness = np.concatenate([_thickness(of_image) for of_image in objects])
    return Truth(objects, near, ground, len(areas), int(areas.max()), float(thickness.min()))


def content_scores(truth: Truth, found: Masks) -> dict[str, float]:
    """Return five scores of masks of found objects (N, H, W).

    object_iou: intersection over union of an object and the found pixels in and near it; mean over the objects that are
    not lost, and 0 if all are lost. size_kept: Pearson's correlation, over the images without a lost object, of the
    numbers of pixels that objects have and that are found outside of invented objects. It is 0 if these do not vary, or
    fewer than three images are left, and left out where all images of the truth have equally many pixels of objects.
    objects_lost: percent of objects of which less than a quarter is found. objects_invented: number of found objects
    that are not near an object of the truth, in percent of the objects of the truth. ground_changed: percent of the
    ground that is found and in no invented object. Raises UserError for masks of another number or size than the truth.
    """
    if found.shape != truth.objects.shape:
        known, given = (" x ".join(map(str, shape)) for shape in (truth.objects.shape, found.shape))
        raise UserError(
            f"the truth of test A has {known} pixels, and the translations {given}. Give one mask an image."
        )
    overlaps: list[float] = []
    sizes: list[tuple[int, int]] = []
    invented = changed = 0
    for objects, near, ground, of_image in zip(truth.objects, truth.near, truth.ground, found, strict=True):
        numbers, areas = np.arange(1, objects.max() + 1), _areas(objects)
        inside = np.asarray(ndimage.sum_labels(of_image, objects, numbers))
        around = np.asarray(ndimage.sum_labels(of_image, near, numbers))
        kept = inside >= LOST * areas
        overlaps += list((inside / (areas + around - inside))[kept])
        parts = _connected(of_image)
        of_objects = _invented(parts, near, truth)
        invented += len(of_objects)
        others = of_image & ~np.isin(parts, of_objects)
        changed += int((others & ground).sum())
        if len(areas) and kept.all():
            sizes.append((int(areas.sum()), int(others.sum())))
    areas_of_truth = np.count_nonzero(truth.objects, axis=(1, 2))
    vary = np.ptp(areas_of_truth[areas_of_truth > 0]) > 0
    return {
        "object_iou": float(np.mean(overlaps)) if overlaps else 0.0,
        **({"size_kept": _correlation(sizes)} if vary else {}),
        "ground_changed": 100 * changed / int(truth.ground.sum()),
        "objects_lost": 100 * (1 - len(overlaps) / truth.count),
        "objects_invented": 100 * invented / truth.count,
    }


def _invented(parts: NDArray[np.int32], near: NDArray[np.int32], truth: Truth) -> NDArray[np.int32]:
    """Return the numbers of those found parts (H, W) that are invented objects."""
    away = np.where(np.isin(parts, parts[near > 0]), 0, parts)
    numbers = np.unique(away[away > 0])
    if not len(numbers):
        return numbers
    areas, thickness = _areas(away)[numbers - 1], _thickness(away)[numbers - 1]
    return numbers[(areas <= truth.largest) & (thickness >= max(THINNEST * truth.thinnest, LEAST_RADIUS))]


def _correlation(pairs: list[tuple[int, int]]) -> float:
    one, other = np.array(pairs).reshape(-1, 2).T
    if len(pairs) < FEWEST_SIZES or not (np.ptp(one) and np.ptp(other)):
        return 0.0
    return float(cast(NDArray[np.float64], np.corrcoef(one, other))[0, 1])


def _connected(mask: Masks) -> NDArray[np.int32]:
    """Number the sets of pixels of (H, W) that touch each other, from 1."""
    labelled, _ = cast(tuple[NDArray[np.int32], int], ndimage.label(mask, structure=np.ones((3, 3))))
    return labelled


def _areas(objects: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the areas of numbered objects (H, W), in pixels."""
    return np.bincount(objects.ravel())[1:]


def _thickness(objects: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the radius of the largest disc within each numbered object (H, W), in pixels."""
    to_edge = cast(NDArray[np.float64], ndimage.distance_transform_edt(np.pad(objects, 1)))[1:-1, 1:-1]
    return np.asarray(ndimage.maximum(to_edge, objects, np.arange(1, objects.max() + 1)))


def _near(objects: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return for each pixel of (H, W) the nearest object's number if it is near, else 0."""
    if not objects.any():
        return objects
    found = ndimage.distance_transform_edt(objects == 0, return_indices=True)
    distances, (rows, columns) = cast(tuple[NDArray[np.float64], NDArray[np.int32]], found)
    nearest = objects[rows, columns]
    radii = np.sqrt(_areas(objects) / np.pi)
    return np.where(distances <= NEAR * radii[nearest - 1], nearest, 0)
