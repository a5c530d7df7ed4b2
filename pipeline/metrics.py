"""The networks by whose features images are compared, and what the distances are called.

torch-fidelity stays out: importing it takes a second that planning need not spend.

FID is the Fréchet distance between Inception features and nothing else (Heusel et al., NeurIPS 2017); the embedded
task's small extractor gives distances of another name.
"""

INCEPTION = "inception-v3-compat"
SMALL_CONV = "small-conv"
# Floating-point operations for an image, counted by torch: Inception's at 299 x 299, the small one's at 64 x 64.
OPERATIONS_PER_IMAGE = {INCEPTION: 11_426_432_192, SMALL_CONV: 9_830_400}
_NAMES = {INCEPTION: ("fid", "kid"), SMALL_CONV: ("fd_small_conv", "kd_small_conv")}


def metric_names(extractor: str) -> tuple[str, str]:
    """What the Fréchet and the kernel distance are called with this extractor."""
    return _NAMES[extractor]


def has_weights(extractor: str) -> bool:
    """Whether the extractor is trained, so that its weights must be had and belong to the identity of a trial."""
    return extractor == INCEPTION
