"""The distance between two single images: between the features at all of their positions.

C channels of a map of features, H and W its sides.
"""

from torch import Tensor

from pipeline.metrics.distances import frechet_distance, statistics_of


def single_image_distance(one_CHW: Tensor, two_CHW: Tensor) -> float:
    """Return the Fréchet distance between the vectors at all positions of two maps, in float64.

    Each map is a sample of C-dimensional vectors with a mean and a covariance (divided by positions - 1). The maps may
    differ in height and width. With Inception's features this is SIFID (Shaham et al., SinGAN, ICCV 2019).
    """
    one, two = (statistics_of(map_CHW.flatten(1).T) for map_CHW in (one_CHW, two_CHW))
    return frechet_distance(one, two)
