"""Every name that passes through MLflow: tags, metrics, and how a reader sees them.

pipeline/ writes these names and analysis/ reads them. A name that was recorded once never changes, so that old stores
stay readable. This module imports nothing heavy.

To add a metric, add one entry to SCORES or COSTS and the function that computes it. Tables, figures and captions ask
the entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal


class Tag:
    """The tags of runs."""

    KIND = "kind"  # 'trial', 'evaluation', 'sweep', or 'recording' until a sweep's manifest is written
    # Of a sweep's run.
    SWEEP = "sweep"
    MANIFEST = "manifest"  # a hash of the manifest
    # Of a trial's run. `row_tag` and `settings_tag` are tags of its sweeps.
    TRIAL_KEY = "trial_key"
    STEPS = "steps"  # of the whole training
    WORK = "work"  # `StepCost.work`: trials with the same work have steps of the same cost
    ERROR, STOPPED = "error", "stopped"
    COLLAPSED = "collapsed"  # the last epoch after which all translations were alike
    STOP_REQUESTED = "stop_requested"  # 'yes' after just stop, until the sweep is given again
    LOSSES = "losses"  # how often a sweep has lost the trial and let it go on
    ALSO_FAILED = "also_failed"  # why a system of tracking.also did not get all values
    OUT_OF_MEMORY_GB = "out_of_memory_gb"
    CODE = "code"  # a hash of the code that a sweep took to a cluster
    COMMIT, RESULT_VERSION, DATA_FINGERPRINT = "commit", "result_version", "data_fingerprint"
    TRAIN_A, TRAIN_B = "train_images_a", "train_images_b"
    LEFT_OUT = "images_left_out"  # how many files of the data set could not be read (data.on_bad=skip)
    # What times and memory depend on. TIMED has all of it in words.
    TIMED, DEVICE, DEVICE_NAME, THREADS, GPU_PART = "timed", "device", "device_name", "threads", "gpu_part"
    PACKED, PRECISION, EXECUTION, MPS, TORCH = "packed", "precision", "execution", "mps", "torch"
    HOST, PYTHON = "host", "python"
    NODE = "node"  # the address of the node of a cluster on which the trial trains, or has trained last
    # Of a run that `just migrate` has copied: the id of the run that it was, and a hash of what that was then.
    COPIED_FROM, COPIED_STATE = "copied_from", "copied_state"
    # What scores depend on.
    EXTRACTOR, WEIGHTS, LAYER, DIMENSIONS = "extractor", "weights", "layer", "dimensions"
    RESIZE, IMAGE_SIZE, IMAGES_A, IMAGES_B = "resize", "image_size", "images_a", "images_b"
    KID_SUBSET_SIZE, KID_SUBSETS, TO_8_BITS = "kid_subset_size", "kid_subsets", "to_8_bits"
    ARITHMETIC, COMPUTED_BY = "arithmetic", "computed_by"
    VGG16, LPIPS_VGG16, DINOV2, SEGMENTER = "vgg16", "lpips-vgg16", "dinov2-vit-l-14", "segmenter"
    EFFICIENTNET, DINO = "efficientnet-lite0", "dino-vit-b-8"


# The tags of trials and sweeps. Runs of other projects in the same store may have a tag 'kind' too. None: any value.
IS_TRIAL: Mapping[str, str | None] = {Tag.KIND: "trial", Tag.TRIAL_KEY: None}
IS_SWEEP: Mapping[str, str | None] = {Tag.KIND: "sweep", Tag.SWEEP: None}
# MLflow's own tags: the name of a run, and the text that its UI shows above a run.
RUN_NAME, NOTE = "mlflow.runName", "mlflow.note.content"
# The sweep and row of a trial of `just train`.
SINGLE = "single"
# The names of sweeps and tasks, which are names of folders too.
PLAIN_NAME = r"\w[\w .+-]*"

# The tags that scores must share to be comparable, and what a reader calls them.
SCORE_TAGS: Mapping[str, str] = {
    Tag.EXTRACTOR: "extractor", Tag.WEIGHTS: "weights", Tag.LAYER: "layer", Tag.RESIZE: "resize",
    Tag.ARITHMETIC: "arithmetic", Tag.TO_8_BITS: "to 8 bits", Tag.IMAGE_SIZE: "image size", Tag.IMAGES_A: "images of A",
    Tag.IMAGES_B: "images of B", Tag.KID_SUBSET_SIZE: "KID subset size", Tag.VGG16: "VGG16 weights",
    Tag.LPIPS_VGG16: "LPIPS weights", Tag.DINOV2: "DINOv2 weights",
    Tag.EFFICIENTNET: "EfficientNet-Lite0 weights", Tag.DINO: "DINO weights", Tag.SEGMENTER: "segmentation network",
    Tag.RESULT_VERSION: "result version",
}  # fmt: skip
# The tags that say how results were made, and what a reader calls them.
PROVENANCE_TAGS: Mapping[str, str] = {
    Tag.COMMIT: "commit", Tag.DATA_FINGERPRINT: "data fingerprint", Tag.TIMED: "trained", Tag.HOST: "host",
    Tag.PYTHON: "Python", Tag.TORCH: "torch", Tag.TRAIN_A: "training images of A", Tag.TRAIN_B: "training images of B",
    **SCORE_TAGS,
    Tag.COMPUTED_BY: "scored by",
}  # fmt: skip
# The tags of a trial that results use. Older trials lack some of them, which are then '' or of `OLDER_VALUES`.
RESULT_TAGS = (
    Tag.ERROR, Tag.STOPPED, Tag.COLLAPSED, Tag.TIMED, Tag.COMMIT, Tag.RESULT_VERSION, Tag.DATA_FINGERPRINT,
    Tag.DEVICE_NAME, Tag.TORCH, Tag.EXTRACTOR, Tag.WEIGHTS, Tag.LAYER, Tag.DIMENSIONS, Tag.RESIZE, Tag.IMAGE_SIZE,
    Tag.IMAGES_A, Tag.IMAGES_B, Tag.KID_SUBSET_SIZE, Tag.ARITHMETIC, Tag.TO_8_BITS, Tag.COMPUTED_BY, Tag.VGG16,
    Tag.LPIPS_VGG16, Tag.DINOV2, Tag.EFFICIENTNET, Tag.DINO, Tag.SEGMENTER, Tag.HOST, Tag.PYTHON, Tag.TRAIN_A,
    Tag.TRAIN_B,
)  # fmt: skip
# What was the only way before there was a tag for it. So older and newer trials stay comparable.
OLDER_VALUES: Mapping[str, str] = {Tag.TO_8_BITS: "round"}

# Of a trial, the tag with the name of its row in a sweep, and the tag with what that row sets, as JSON.
ROW_TAGS = "row."
row_tag = "row.{}".format
settings_tag = "set.{}".format
# 'yes' for a trial of the sweep as it was last run, 'no' for one whose value, row or seed it no longer has.
member_tag = "now.{}".format

# Groups of metrics. 'train/' (losses) and 'eval/' (scores) have a value for each logged step. The others have one value
# at the end of a trial: the last scores, the best ones, those of the untranslated images of A, and costs.
FINAL_GROUPS = ("last/", "best/", "source/", "cost/")
# The steps that are done.
PROGRESS_STEP = "progress/step"
# Steps that were trained again, since a process was lost after its last checkpoint.
STEPS_REPEATED = "progress/steps_repeated"

# Recorded names, from the name of the loss, score or cost.
train_metric = "train/{}".format
eval_metric = "eval/{}".format
last_metric = "last/{}".format
best_metric = "best/{}".format  # of scores at the evaluation with the lowest distance
source_metric = "source/{}".format
cost_metric = "cost/{}".format
# A kernel distance's standard deviation over subsets.
deviation_name = "{}_std".format


@dataclass(frozen=True)
class Metric:
    """What is known of a score or a cost.

    name: as recorded behind its group. label: what readers call it. digits: behind the decimal point. columns: the
    groups that have a column in tables, in their order, and the word that the column's header adds ('last', 'best').
    unit: also in the header. note: a sentence for the caption of a table that shows it. compared: whether a comparison
    of two sweeps shows it. timed: whether it depends on who else used the device.
    """

    name: str
    label: str
    better: Literal["lower", "higher", "neither"]
    digits: int
    columns: Mapping[str, str]
    unit: str = ""
    note: str = ""
    compared: bool = False
    timed: bool = False

    def header(self, group: str) -> str:
        """Return the header of the group's column: 'FID, last ↓'. The arrow points to the better side."""
        arrow = {"lower": " ↓", "higher": " ↑", "neither": ""}[self.better]
        return f"{', '.join(filter(None, (self.label, self.columns[group], self.unit)))}{arrow}"


_LAST, _LAST_AND_BEST, _COST = {"last": "last"}, {"last": "last", "best": "best"}, {"cost": ""}
_SECONDS = "Seconds per iteration: median after warm-up, one pair of images, without waiting for data."
_MEMORY = "Peak memory: the most bytes of live tensors in a training step."
_EFFICIENTNET = "EfficientNet-Lite0: 1280 features of a small ImageNet network. Its FD is no FID."
_INFINITY = "∞: extrapolated to infinitely many images; still too high where images are fewer than dimensions."
_SIFID = "SIFID, SIFD: distance between the features at all positions of two images, here a translation and B's image."
_IDENTITY = "Identity error: mean absolute change of B's image by the generator."
_OVERLAP = "Overlap: of the objects that are not lost."
_SIZE = "Size kept: correlation of sizes over the images that lost no object."
_REPEATED = "Steps trained again: after a loss, those since the last checkpoint. Mean over trials."

# Pairs of a Fréchet distance and the kernel distance of the same features.
DISTANCES = (
    ("fid", "kid"),
    ("fd_small_conv", "kd_small_conv"),
    ("fd_efficientnet_lite0", "kd_efficientnet_lite0"),
)
# Of one translation, by the same features: pairs of its Fréchet distance to the image of B, and to its input.
SINGLE_IMAGE_DISTANCES = (("sifid", "sifid_to_input"), ("sifd_small_conv", "sifd_small_conv_to_input"))
# Rows are compared by the first of these that is recorded.
MAIN_SCORES = tuple(frechet for frechet, _ in (*DISTANCES, *SINGLE_IMAGE_DISTANCES))
# In the order of a table's columns.
SCORES: tuple[Metric, ...] = (
    Metric("fid", "FID", "lower", 1, _LAST_AND_BEST, compared=True),
    Metric("fd_small_conv", "FD (small-conv)", "lower", 2, _LAST_AND_BEST, compared=True),
    Metric(
        "fd_efficientnet_lite0",
        "FD (EfficientNet-Lite0)",
        "lower",
        2,
        _LAST_AND_BEST,
        note=_EFFICIENTNET,
        compared=True,
    ),
    Metric("sifid", "SIFID", "lower", 4, _LAST_AND_BEST, note=_SIFID, compared=True),
    Metric("sifd_small_conv", "SIFD (small-conv)", "lower", 2, _LAST_AND_BEST, note=_SIFID, compared=True),
    Metric("fid_infinity", "FID∞", "lower", 1, _LAST, note=_INFINITY),
    Metric("fd_small_conv_infinity", "FD∞ (small-conv)", "lower", 2, _LAST, note=_INFINITY),
    Metric("fd_efficientnet_lite0_infinity", "FD∞ (EfficientNet-Lite0)", "lower", 2, _LAST, note=_INFINITY),
    Metric("epoch", "best epoch", "neither", 0, {"best": ""}),
    Metric("kid", "KID", "lower", 4, _LAST),
    Metric("kd_small_conv", "KD (small-conv)", "lower", 3, _LAST),
    Metric("kd_efficientnet_lite0", "KD (EfficientNet-Lite0)", "lower", 4, _LAST),
    Metric("precision", "precision", "higher", 3, _LAST),
    Metric("recall", "recall", "higher", 3, _LAST),
    Metric("precision_small_conv", "precision (small-conv)", "higher", 3, _LAST),
    Metric("recall_small_conv", "recall (small-conv)", "higher", 3, _LAST),
    Metric("lpips", "LPIPS to the input", "lower", 3, _LAST),
    Metric("dino_structure", "structure distance (DINO)", "lower", 4, _LAST, compared=True),
    Metric("sifid_to_input", "SIFID to the input", "lower", 4, _LAST),
    Metric("sifd_small_conv_to_input", "SIFD (small-conv) to the input", "lower", 2, _LAST),
    Metric("identity_error", "identity error (0–255)", "lower", 2, _LAST, note=_IDENTITY, compared=True),
    Metric("edges", "edges kept (0–1)", "higher", 3, _LAST, compared=True),
    Metric("fd_dinov2", "FD (DINOv2)", "lower", 1, _LAST),
    Metric("mAP", "mAP", "higher", 1, _LAST),
    Metric("pixAcc", "pixAcc", "higher", 1, _LAST),
    Metric("classAcc", "classAcc", "higher", 1, _LAST),
    Metric("object_iou", "overlap (IoU)", "higher", 3, _LAST, note=_OVERLAP, compared=True),
    Metric("size_kept", "size kept (r)", "higher", 3, _LAST, note=_SIZE, compared=True),
    Metric("ground_changed", "ground changed", "lower", 2, _LAST, "%", compared=True),
    Metric("objects_lost", "objects lost", "lower", 1, _LAST, "%", compared=True),
    Metric("objects_invented", "objects invented", "lower", 1, _LAST, "%", compared=True),
    Metric("background_change", "background change (0–255)", "lower", 2, {"last": ""}, compared=True),
)
# The scores of what each translation keeps: against its known truth, or of the structure of its input. Rows are
# compared by them too, beside the distance.
CONTENT_SCORES = (
    "object_iou",
    "size_kept",
    "ground_changed",
    "objects_lost",
    "objects_invented",
    "mAP",
    "pixAcc",
    "classAcc",
    "edges",
    "dino_structure",
)
COSTS: tuple[Metric, ...] = (
    Metric(
        "seconds_per_iteration", "seconds per iteration", "lower", 3, _COST, "", _SECONDS, compared=True, timed=True
    ),
    Metric("training_peak_live_gb", "peak memory", "lower", 3, _COST, "GB", _MEMORY, compared=True),
    Metric("training_peak_allocated_gb", "peak CUDA memory allocated", "lower", 2, _COST, "GB", compared=True),
    Metric("training_peak_reserved_gb", "peak CUDA memory reserved", "lower", 2, _COST, "GB"),
    Metric("joules_per_1000_iterations", "joules per 1000 iterations", "lower", 0, _COST, timed=True),
    Metric("steps_repeated", "steps trained again", "lower", 0, _COST, note=_REPEATED),
    Metric("training_process_peak_gb", "process in training", "lower", 2, {}, "peak GB"),
    Metric("evaluation_peak_live_gb", "live tensors in evaluation", "lower", 3, {}, "peak GB"),
    Metric("evaluation_peak_allocated_gb", "CUDA allocated in evaluation", "lower", 2, {}, "peak GB"),
    Metric("evaluation_peak_reserved_gb", "CUDA reserved in evaluation", "lower", 2, {}, "peak GB"),
    Metric("evaluation_process_peak_gb", "process in evaluation", "lower", 2, {}, "peak GB"),
    Metric("data_seconds_per_iteration", "wait for data per iteration", "lower", 3, {}, "s", timed=True),
    Metric("seconds_per_step", "seconds per step, wait for data included", "lower", 3, {}, timed=True),
    Metric("seconds_per_evaluation", "seconds per evaluation", "lower", 1, {}, timed=True),
    Metric("training_seconds", "training", "lower", 0, {}, "s", timed=True),
    Metric("evaluation_seconds", "evaluation", "lower", 0, {}, "s", timed=True),
    Metric("device_hours", "hours of a device", "lower", 2, {}, timed=True),
)
SECONDS_PER_ITERATION = cost_metric("seconds_per_iteration")
SECONDS_PER_STEP = cost_metric("seconds_per_step")
SECONDS_PER_EVALUATION = cost_metric("seconds_per_evaluation")
PEAK_LIVE_GB = cost_metric("training_peak_live_gb")
# Results show the first of them that is recorded: CUDA's own count, if there is one.
MEMORY_METRICS = (cost_metric("training_peak_allocated_gb"), PEAK_LIVE_GB)
DEVICE_HOURS = cost_metric("device_hours")


def sweep_name(given: str) -> str:
    """Return the name of a sweep that is given by its name or by its file, which has the same name."""
    return PurePath(given).stem if "/" in given or given.endswith((".yaml", ".yml")) else given


def shown_metrics() -> list[str]:
    """Return the recorded names of all metrics with a column, in the order of a table."""
    return [f"{group}/{metric.name}" for metric in (*SCORES, *COSTS) for group in metric.columns]


def metric_of(recorded: str) -> Metric:
    """Return the metric of a recorded name such as 'last/fid'."""
    name = recorded.partition("/")[2]
    return next(metric for metric in (*SCORES, *COSTS) if metric.name == name)


def score_label(score: str) -> str:
    """Return what readers call a score such as 'fid'."""
    return metric_of(last_metric(score)).label


def timed_metrics() -> tuple[str, ...]:
    """Return the recorded names of the costs that depend on who else used the device."""
    return tuple(cost_metric(cost.name) for cost in COSTS if cost.timed)
