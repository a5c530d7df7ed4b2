"""The names of the feature extractors and of the metrics.

FID is only the Fréchet distance between Inception features (Heusel et al., NeurIPS 2017). The distances of other
extractors have other names. This file does not import torch-fidelity, which takes a second.
"""

from analysis.records.names import DISTANCES, SINGLE_IMAGE_DISTANCES
from pipeline.config.single_image.settings import MAP_EXTRACTORS

INCEPTION = "inception-v3-compat"
SMALL_CONV = "small-conv"
VGG = "vgg16"
DINOV2 = "dinov2-vit-l-14"
EFFICIENTNET = "efficientnet-lite0"
DINO = "dino-vit-b-8"
# Those that turn one image into a map of features.
SMALL_CONV_MAP, INCEPTION_IMAGENET = MAP_EXTRACTORS
# The first digits of the SHA-256 of torch-fidelity's file of Inception weights, which are also in the file's name.
PUBLISHED_WEIGHTS = "6726825d"
# In the place of `metric.to_8_bits`, of images that were given 8 bits elsewhere.
AS_IN_THE_FILES = "as in the files"
# Floating-point operations per image, counted by torch: Inception at 299 x 299 pixels, EfficientNet at 224 x 224, the
# others at 64 x 64.
OPERATIONS_PER_IMAGE = {
    INCEPTION: 11_426_432_192,
    SMALL_CONV: 9_830_400,
    EFFICIENTNET: 767_815_104,
    SMALL_CONV_MAP: 7_372_800,
    INCEPTION_IMAGENET: 89_984_704,
}
# Further metrics, from a segmentation network and from `metric.also`.
SEGMENTATION_SCORES = ("mAP", "pixAcc", "classAcc")
PRECISION_RECALL, LPIPS, FD_DINOV2 = "precision_recall", "lpips", "fd_dinov2"
DINO_STRUCTURE, EDGES = "dino_structure", "edges"
FD_EFFICIENTNET, KD_EFFICIENTNET = "fd_efficientnet_lite0", "kd_efficientnet_lite0"
EXTRAPOLATED = "extrapolated"
# Those of `metric.also` that compare each translation with its input.
OF_PAIRS = (LPIPS, DINO_STRUCTURE, EDGES)


def main_metric(extractor: str) -> str:
    """Return the name of the distance by which rows are compared with this extractor."""
    return single_image_names(extractor)[0] if extractor in MAP_EXTRACTORS else metric_names(extractor)[0]


def single_image_names(extractor: str) -> tuple[str, str]:
    """Return the names of the distances of one translation, to B and to its input, with an extractor of maps."""
    return SINGLE_IMAGE_DISTANCES[(INCEPTION_IMAGENET, SMALL_CONV_MAP).index(extractor)]


def metric_names(extractor: str) -> tuple[str, str]:
    """Return the names of the Fréchet and of the kernel distance with an extractor for sets of images."""
    return DISTANCES[(INCEPTION, SMALL_CONV, EFFICIENTNET).index(extractor)]


def infinity_name(frechet: str) -> str:
    """Return the name of a Fréchet distance that is extrapolated to infinitely many images."""
    return f"{frechet}_infinity"


def precision_recall_names(extractor: str) -> tuple[str, str]:
    """Return the names of precision and recall on a task with this extractor.

    With small-conv they are computed with small-conv, else with VGG, as published.
    """
    return ("precision_small_conv", "recall_small_conv") if extractor == SMALL_CONV else ("precision", "recall")


def further_scores(extractor: str, also: tuple[str, ...], *, segmented: bool) -> tuple[str, ...]:
    """Return the names of the scores beside the distances: those of `metric.also` and of a segmentation network."""
    several = {
        PRECISION_RECALL: precision_recall_names(extractor),
        FD_EFFICIENTNET: (FD_EFFICIENTNET, KD_EFFICIENTNET),
        EXTRAPOLATED: (infinity_name(main_metric(extractor)),),
    }
    scores = [score for asked in also for score in several.get(asked, (asked,))]
    return (*scores, *(SEGMENTATION_SCORES if segmented else ()))


def has_weights(extractor: str) -> bool:
    """Return whether the extractor is trained. Its weights are then part of a trial's key."""
    return extractor not in (SMALL_CONV, SMALL_CONV_MAP)
