"""Which models, extractors and scores fit a task with one image for each domain, and which need such a task."""

from pipeline.config.schema import Config
from pipeline.config.single_image.settings import MAP_EXTRACTORS, CropsConfig

KINDS, TASKS = ("single", "pictures"), "task=single or task=pictures"
_, INCEPTION_IMAGENET = MAP_EXTRACTORS
# The scores of `metric.also` that compare one translation with its input.
PAIR_SCORES = ("lpips", "dino_structure", "edges")


def wrong_task(method: str, kind: str) -> str:
    """Return why a model cannot train on this kind of data, and what to change; '' if it can."""
    if method != "sincut" or kind in KINDS:
        return ""
    return f"model=sincut trains on one image for each domain; set {TASKS}, or another model"


def single_image_misfits(config: Config) -> list[str]:
    """Return why the data and the metric do not fit together, and what to change; nothing if they do."""
    metric, found = config.metric, list[str]()
    of_maps, extractors = metric.extractor in MAP_EXTRACTORS, " or ".join(MAP_EXTRACTORS)
    if not isinstance(config.data, CropsConfig):
        if of_maps:
            found.append(f"metric.extractor={metric.extractor} compares two images; set {TASKS}, or another extractor")
        return found
    if not of_maps:
        found.append(f"metric.extractor={metric.extractor} compares sets of images; one image needs {extractors}")
    if metric.extractor == INCEPTION_IMAGENET and metric.weights is None:
        found.append(
            f"metric.extractor={INCEPTION_IMAGENET} needs metric.weights=FILE, torchvision's file of Inception v3"
        )
    if sets := [score for score in metric.also if score not in PAIR_SCORES]:
        found.append(f"metric.also={sets} compares sets of images; with one image there are {', '.join(PAIR_SCORES)}")
    if metric.segmentation is not None:
        found.append("metric.segmentation scores many photographs; with one image leave it out")
    return found
