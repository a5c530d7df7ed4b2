"""What few images do to a Fréchet distance: its error, and its bias.

N, M images, D dimensions of a feature.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.metrics.distances import Statistics, frechet_distance, statistics_of

RESAMPLES = 100
# Subsets of these sizes, from half of the images to all, evenly spaced. A line is fitted for each draw.
SIZES, DRAWS = 5, 20
# A covariance needs two images, and a line two sizes of subsets.
FEWEST_IMAGES = 3


def require_images(count: int) -> None:
    """Raise UserError if a distance of `count` images cannot be extrapolated."""
    if count < FEWEST_IMAGES:
        raise UserError(f"metric.also=[extrapolated]: {count} images. Each of the two sets needs {FEWEST_IMAGES}")


def bootstrap_error(generated_ND: Tensor, real: Statistics) -> float:
    """Return the standard error of a distance to `real`: its deviation over samples of N images with replacement.

    It says how far the score of one generator would move with other test images of A (Efron, Annals of Statistics 7,
    1979). It says nothing of another training. With fewer images than dimensions it is too large, since a sample with
    replacement has fewer different images.
    """
    rng, count = torch.Generator().manual_seed(0), len(generated_ND)
    samples = (torch.randint(count, (count,), generator=rng) for _ in range(RESAMPLES))
    return float(np.std([frechet_distance(statistics_of(generated_ND[sample]), real) for sample in samples], ddof=1))


def extrapolated_distance(generated_ND: Tensor, real_MD: Tensor) -> tuple[float, float]:
    """Return the distance extrapolated to infinitely many images, and its deviation over draws of subsets.

    A distance of n and n images is about that of infinitely many plus a constant over n (Chong and Forsyth, CVPR 2020).
    The line through subsets of several n gives its value at 1/n = 0. With fewer images than dimensions the relation is
    no line, and most of the bias stays. Raises UserError for fewer than three images.
    """
    rng, count = torch.Generator().manual_seed(0), min(len(generated_ND), len(real_MD))
    require_images(count)
    sizes = np.unique(np.linspace(max(2, count / 2), count, SIZES).round().astype(int))

    def subset(features: Tensor, size: int) -> Statistics:
        return statistics_of(features[torch.randperm(len(features), generator=rng)[:size]])

    limits = [
        np.polyfit(
            1 / sizes, [frechet_distance(subset(generated_ND, size), subset(real_MD, size)) for size in sizes], 1
        )[1]
        for _ in range(DRAWS)
    ]
    return float(np.mean(limits)), float(np.std(limits, ddof=1))
