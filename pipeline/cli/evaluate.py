"""just evaluate: compute the scores of a trial, a checkpoint (also of the reference code), or a folder of images."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from analysis.records.names import Tag, deviation_name, score_label
from analysis.records.printable import printable
from analysis.records.progress import progress
from analysis.tables.caption import bias_sentence
from models.networks.tiles import translation_of
from pipeline.config.compose import TASKS, change_config, compose_surroundings, take_options, tracking_uri
from pipeline.config.parallel import processes_of
from pipeline.config.places import trials_folder
from pipeline.config.schema import Config
from pipeline.config.single_image.fit import single_image_misfits
from pipeline.config.single_image.settings import CropsConfig
from pipeline.data.dataset_cache import list_images, open_dataset, prepare
from pipeline.data.decoding import decode
from pipeline.errors import UserError
from pipeline.files import file_digest
from pipeline.hardware.device import device_name, resolve_device, use_threads
from pipeline.hardware.share import threads_of
from pipeline.inference.find import STORE_PARTS, find_checkpoint
from pipeline.inference.load import Trained, load_trained
from pipeline.metrics.calibration import calibration, has_published_scores
from pipeline.metrics.evaluator import Evaluation, Evaluator
from pipeline.metrics.extra.few_images import RESAMPLES, bootstrap_error
from pipeline.metrics.names import OF_PAIRS, metric_names
from pipeline.metrics.other_fid import DIFFERENCES, require_installed, their_fid
from pipeline.metrics.single_image.evaluator import SingleImageEvaluator, evaluator_of
from pipeline.tracking.store import Tracker, store_lock
from pipeline.training.checkpoint import LAST, two_newest

# The settings that can be changed for a trained trial.
AFTER_TRAINING = ("data", "metric", "compute", *STORE_PARTS)


def evaluate(what: str, overrides: list[str]) -> int:
    """Compute FID and KID against the test images of B. Print and record them."""
    options, overrides = take_options(overrides, ["compare", "resize"])
    other, resizing = str(options.get("compare", "")), options.get("resize", "no")
    if resizing not in ("yes", "no"):
        raise UserError(f"command line: resize is {resizing!r}. It must be yes or no.")
    if "compare" in options:
        require_installed(other)
    if Path(what).is_dir() and not two_newest(Path(what) / LAST):
        return _evaluate_folder(Path(what), _named_data(what, overrides), other, resizing=resizing == "yes")
    trained = load_trained(find_checkpoint(what, overrides))
    if resizing == "yes":
        raise UserError(f"resize=yes is for a folder of images, and {what} is a checkpoint. Remove resize=yes.")
    if trained.config:
        return _evaluate_trained(trained, change_config(trained.config, overrides, AFTER_TRAINING), other)
    return _evaluate_trained(trained, _named_data(what, overrides), other)


def _named_data(what: str, overrides: list[str]) -> Config:
    """Return the settings of what no trial of ours made. Raises UserError if they do not name the data.

    The embedded task is the default elsewhere. Here it would give a number that means nothing.
    """
    config = compose_surroundings(overrides)
    if not any(text.startswith("task=") for text in overrides):
        raise UserError(
            f"{printable(what)}: its data are not named. Add task=NAME, one of {', '.join(TASKS)}. "
            "Your own images are task=folder data.root=FOLDER."
        )
    return config


def _evaluate_trained(trained: Trained, config: Config, other: str) -> int:
    _require_fit(trained, config)
    if other and isinstance(config.data, CropsConfig):
        raise UserError(
            f"compare={other} compares sets of images, and {printable(config.data.name)} has one. Remove it."
        )
    tracker, evaluator = _tracker(config), _evaluator(config)
    translate, count = translation_of(trained.generator.to(evaluator.device)), len(evaluator.test_a)
    with progress("translating and scoring", count) as report:
        done = 0

        def counted(batch: torch.Tensor) -> torch.Tensor:
            nonlocal done
            done += len(batch)
            report(min(done, count), count)
            return translate(batch)

        evaluation = evaluator.evaluate(counted)
    when = "" if trained.step is None else f" (step {trained.step})"
    print(f"{config.data.name}: test images of A, translated by {trained.file}{when}")
    made_with = {"evaluated": f"{trained.file}{when}", "evaluated_hash": file_digest(trained.file)[:16]}
    return _report(evaluation, evaluator, tracker, made_with, other, calibrates=trained.config is None)


def _require_fit(trained: Trained, config: Config) -> None:
    generator, data = trained.generator, config.data
    needed = {"channels_a": generator.in_channels, "channels_b": generator.out_channels}
    for name, channels in needed.items():
        if channels != getattr(data, name):
            raise UserError(f"{trained.file} needs data.{name}={channels}, but data.{name} is {getattr(data, name)}")
    if any(side % 4 for side in data.size):
        raise UserError(f"data.size is {list(data.size)}. {trained.file} needs multiples of 4.")


def _evaluate_folder(folder: Path, config: Config, other: str, *, resizing: bool) -> int:
    if isinstance(config.data, CropsConfig):
        raise UserError(f"{printable(folder)}: a folder cannot be scored with one image of B. Give a trial.")
    if config.metric.segmentation or set(OF_PAIRS) & set(config.metric.also):
        raise UserError(
            f"{folder}: lpips and segmentation need the input of each image, which is unknown for a folder, and so do "
            "dino_structure and edges. Remove them from metric.also and metric.segmentation, or evaluate a checkpoint."
        )
    images = decode(list_images(folder), config.data.size, config.data.channels_b, resizing=resizing)
    tracker, evaluator = _tracker(config), _evaluator(config)
    assert isinstance(evaluator, Evaluator)
    size, of_b = (" x ".join(map(str, shown.shape[-2:])) for shown in (images, evaluator.test_b))
    resized = f", resized to {size}" if resizing else ""
    print(
        f"Comparing {len(images)} images of {printable(folder)} ({size}{', resized' if resizing else ''}) with "
        f"{len(evaluator.test_b)} test images of B of {printable(config.data.name)} ({of_b}) by "
        f"{evaluator.extractor.name} ({evaluator.extractor.dimensions} features)",
        flush=True,
    )
    evaluation = evaluator.evaluate_images(images)
    print(f"{config.data.name}: {len(images)} images of {printable(folder)}{resized}")
    digest = hashlib.sha256(evaluation.outputs.tobytes())
    made_with = {"evaluated": f"{printable(folder)}{resized}", "evaluated_hash": digest.hexdigest()[:16]}
    return _report(evaluation, evaluator, tracker, made_with, other, calibrates=True)


def _evaluator(config: Config) -> Evaluator | SingleImageEvaluator:
    if faults := single_image_misfits(config):
        raise UserError(*faults)
    # The same number of threads as in training. Another number changes the order of sums, and so the rounding.
    if config.compute.cpus_per_trial != "auto":
        use_threads(threads_of(config.compute.cpus_per_trial, processes_of(config.compute)))
    cache = Path(config.paths.cache)
    dataset = open_dataset(prepare(config.data, cache).folder)
    return evaluator_of(dataset, config.metric, resolve_device(config.compute.device), cache)


def _tracker(config: Config) -> Tracker:
    uri = tracking_uri(config)
    lock = store_lock(uri, trials_folder(config.paths).absolute())
    tracker = Tracker(uri, config.data.name, Path("mlartifacts").absolute().as_uri(), lock)
    # Before the images are scored: a store that does not answer must not cost a computed result.
    assert tracker.experiment_id
    return tracker


def _report(
    evaluation: Evaluation,
    evaluator: Evaluator | SingleImageEvaluator,
    tracker: Tracker,
    made_with: Mapping[str, object],
    other: str,
    *,
    calibrates: bool,
) -> int:
    """Print the scores, how they were computed and their limits. Record them in MLflow.

    other: another implementation of FID to compare with, or ''.
    """
    scores, provenance = evaluation.scores, evaluation.provenance
    source = evaluator.score_source()
    table = Table("", Column("score", justify="right"), Column("A untranslated", justify="right"))
    for name, score in scores.items():
        table.add_row(name, f"{score:.6g}", f"{source[name]:.6g}")
    Console().print(table)
    for name, value in provenance.items():
        print(f"  {name.replace('_', ' ')}: {value}")
    remarks: list[str] = []
    if isinstance(evaluator, Evaluator):
        errors, remarks = _limits(evaluation, evaluator, tracker.experiment, calibrates=calibrates)
        scores = scores | errors
    remarks += ["All images are alike: the generator has collapsed."] if evaluation.collapsed else []
    for sentence in remarks:
        print(sentence)
    try:
        if other:
            theirs = their_fid(
                other, evaluation.outputs, evaluator.test_b, evaluator.config.batch_size, evaluator.device
            )
            remarks.append(f"{other}: {theirs:.6g} on the same images. {DIFFERENCES[other]}")
            print(remarks[-1])
            scores = scores | {f"fid_{other}": theirs}
    finally:  # record our scores even if the other implementation fails
        device = {Tag.DEVICE_NAME: device_name(evaluator.device), Tag.TORCH: torch.__version__}
        record = {**made_with, **provenance, **device, "remarks": " ".join(remarks)}
        run_id = tracker.record_evaluation(f"evaluation of {made_with['evaluated']}", scores, record, evaluation.grid)
        print(f"Recorded as run {run_id} of experiment {tracker.experiment}.")
    return 0


def _limits(
    evaluation: Evaluation, evaluator: Evaluator, experiment: str, *, calibrates: bool
) -> tuple[dict[str, float], list[str]]:
    """Return the standard error of the distance, by its recorded name, and sentences on the limits of the scores."""
    scores, provenance, extractor = evaluation.scores, evaluation.provenance, evaluator.config.extractor
    frechet, kernel = metric_names(extractor)
    error = bootstrap_error(evaluation.features, evaluator.statistics_b)
    count, dimensions = evaluation.features.shape
    too_large = "; too large, since images are fewer than dimensions" if count < dimensions else ""
    errors = {deviation_name(frechet): error}
    remarks = [
        f"{score_label(frechet)} has a standard error of {error:.3g}, by {RESAMPLES} resamples of the images"
        f"{too_large}.",
        bias_sentence(frechet, kernel, provenance, scores[deviation_name(kernel)]),
    ]
    if provenance[Tag.TO_8_BITS] == "truncate":
        remarks.append(
            "Translations were truncated to 8 bits, as the reference code does; metric.to_8_bits=round rounds them."
        )
    if calibrates and has_published_scores(experiment, extractor):
        remarks.append(calibration(experiment, provenance, scores[frechet]))
    return errors, [sentence for sentence in remarks if sentence]
