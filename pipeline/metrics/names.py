"""The networks by whose features images are compared, and what the distances are called.

torch-fidelity stays out: importing it takes a second that planning need not spend.

FID is the Fréchet distance between Inception features and nothing else (Heusel et al., NeurIPS 2017); the embedded
task's small extractor gives distances of another name.
"""

from analysis.records.names import DISTANCES

INCEPTION = "inception-v3-compat"
SMALL_CONV = "small-conv"
VGG = "vgg16"
DINOV2 = "dinov2-vit-l-14"
# How the SHA-256 of torch-fidelity's file of Inception's published weights begins; the file has it in its name.
PUBLISHED_WEIGHTS = "6726825d"
# Floating-point operations for an image, counted by torch: Inception's at 299 x 299, the small one's at 64 x 64.
OPERATIONS_PER_IMAGE = {INCEPTION: 11_426_432_192, SMALL_CONV: 9_830_400}
_NAMES: dict[str, tuple[str, str]] = dict(zip((INCEPTION, SMALL_CONV), DISTANCES, strict=True))
# What a trial can be scored by beside these (`metric.also`), and by a segmentation network.
SEGMENTATION_SCORES = ("mAP", "pixAcc", "classAcc")
PRECISION_RECALL, LPIPS, FD_DINOV2 = "precision_recall", "lpips", "fd_dinov2"


def metric_names(extractor: str) -> tuple[str, str]:
    """What the Fréchet and the kernel distance are called with this extractor."""
    return _NAMES[extractor]


def precision_recall_names(extractor: str) -> tuple[str, str]:
    """What precision and recall are called on a task of this extractor: they are VGG's, as published, or the small
    extractor's own."""
    return ("precision", "recall") if extractor == INCEPTION else ("precision_small_conv", "recall_small_conv")


def further_scores(extractor: str, also: tuple[str, ...], *, segmented: bool) -> tuple[str, ...]:
    """The scores that a task of this extractor has beside its distances: by `metric.also`, and by a segmentation
    network."""
    scores: list[str] = []
    for asked in also:
        scores += precision_recall_names(extractor) if asked == PRECISION_RECALL else [asked]
    return (*scores, *(SEGMENTATION_SCORES if segmented else ()))


def has_weights(extractor: str) -> bool:
    """Whether the extractor is trained, so that its weights must be had and belong to the identity of a trial."""
    return extractor == INCEPTION
