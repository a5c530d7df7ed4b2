"""The command that scores anything: a trial, a checkpoint of ours or of the reference code, a folder of images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from analysis.records.names import Tag
from analysis.tables.caption import bias_sentence
from pipeline.config.compose import change_config, compose_surroundings, tracking_uri
from pipeline.config.schema import Config
from pipeline.data.dataset_cache import decode, list_images, open_dataset, prepare
from pipeline.errors import UserError
from pipeline.files import file_digest
from pipeline.hardware.device import device_name, resolve_device, use_threads
from pipeline.inference.find import PLACES, find_meant
from pipeline.inference.load import Trained, load_trained
from pipeline.metrics.calibration import calibration
from pipeline.metrics.evaluator import Evaluation, Evaluator
from pipeline.metrics.names import INCEPTION, metric_names
from pipeline.metrics.other_fid import differences, require_installed, their_fid
from pipeline.tracking.store import Tracker, store_lock

# All that can be set for a trial that is trained already.
AFTER_TRAINING = ("data", "metric", "compute", *PLACES)


def evaluate(what: str, overrides: list[str]) -> int:
    """Score a trial, a checkpoint (also the reference code's) or a folder of images against the test images of B."""
    options, overrides = _split_options(overrides)
    if Path(what).is_dir() and not (Path(what) / "last.pt").exists():
        config = compose_surroundings(overrides)
        return _evaluate_folder(Path(what), config, options)
    trained = load_trained(find_meant(what, overrides))
    if options.resize:
        raise UserError(f"resize=yes: {what} is no folder of images; test images are resized by the task's settings")
    if trained.config:
        return _evaluate_trained(trained, change_config(trained.config, overrides, AFTER_TRAINING), options)
    return _evaluate_trained(trained, compose_surroundings(overrides), options)


@dataclass(frozen=True)
class Options:
    """What an evaluation can be asked for beside settings: the FID of another implementation ('' for none), and that a
    folder's images be resized."""

    compare: str
    resize: bool


def _split_options(overrides: list[str]) -> tuple[Options, list[str]]:
    """compare=NAME and resize=yes, and the overrides without them."""
    given = dict(text.split("=", 1) for text in overrides if text.startswith(("compare=", "resize=")))
    if given.get("resize", "no") not in ("yes", "no"):
        raise UserError(f"command line: resize is {given['resize']!r}; it must be yes or no")
    options = Options(given.get("compare", ""), given.get("resize") == "yes")
    if "compare" in given:
        require_installed(options.compare)
    return options, [text for text in overrides if text.partition("=")[0] not in given]


def _evaluate_trained(trained: Trained, config: Config, options: Options) -> int:
    _require_fit(trained, config)
    tracker, evaluator = _tracker(config), _evaluator(config)
    evaluation = evaluator.evaluate(trained.generator.to(evaluator.device).translate)
    when = "" if trained.step is None else f" (step {trained.step})"
    print(f"{config.data.name}: test images of A translated by {trained.file}{when}")
    made_with = {"evaluated": f"{trained.file}{when}", "evaluated_hash": file_digest(trained.file)[:16]}
    return _report(evaluation, evaluator, tracker, made_with, options, calibrates=trained.config is None)


def _require_fit(trained: Trained, config: Config) -> None:
    generator, data = trained.generator, config.data
    needed = {"channels_a": generator.in_channels, "channels_b": generator.out_channels}
    for name, channels in needed.items():
        if channels != getattr(data, name):
            raise UserError(f"{trained.file}: goes with data.{name}={channels}; found {getattr(data, name)}")
    if any(side % 4 for side in data.size):
        raise UserError(f"{trained.file}: takes sides that are multiples of 4; data.size is {list(data.size)}")


def _evaluate_folder(folder: Path, config: Config, options: Options) -> int:
    if config.metric.segmentation or "lpips" in config.metric.also:
        raise UserError(
            f"{folder}: nothing says which inputs its images are of, so lpips and segmentation cannot be had"
        )
    images = decode(list_images(folder), config.data.size, config.data.channels_b, resizing=options.resize)
    tracker, evaluator = _tracker(config), _evaluator(config)
    evaluation = evaluator.evaluate_images(images)
    resized = f", resized to {evaluation.provenance['image_size']}" if options.resize else ""
    print(f"{config.data.name}: {len(images)} images of {folder}{resized}")
    digest = hashlib.sha256(evaluation.outputs.tobytes())
    made_with = {"evaluated": f"{folder}{resized}", "evaluated_hash": digest.hexdigest()[:16]}
    return _report(evaluation, evaluator, tracker, made_with, options, calibrates=True)


def _evaluator(config: Config) -> Evaluator:
    # As many threads as the trial had: sums in another order could round an output to another level.
    if config.compute.cpus_per_trial != "auto":
        use_threads(config.compute.cpus_per_trial)
    cache = Path(config.paths.cache)
    dataset = open_dataset(prepare(config.data, cache).folder)
    return Evaluator(dataset, config.metric, resolve_device(config.compute.device), cache)


def _tracker(config: Config) -> Tracker:
    # Before anything is computed, so that a store that does not answer costs no evaluation.
    uri = tracking_uri(config)
    lock = store_lock(uri, Path(config.paths.trials).absolute())
    return Tracker(uri, config.data.name, Path("mlartifacts").absolute().as_uri(), lock)


def _report(
    evaluation: Evaluation,
    evaluator: Evaluator,
    tracker: Tracker,
    made_with: Mapping[str, object],
    options: Options,
    *,
    calibrates: bool,
) -> int:
    """Print an evaluation with what it takes to judge it, and record it."""
    scores, provenance, config = evaluation.scores, evaluation.provenance, evaluator.config
    source = evaluator.score_source()
    table = Table("", Column("score", justify="right"), Column("A untranslated", justify="right"))
    for name, score in scores.items():
        table.add_row(name, f"{score:.6g}", f"{source[name]:.6g}")
    Console().print(table)
    for name, value in provenance.items():
        print(f"  {name.replace('_', ' ')}: {value}")
    frechet, kernel = metric_names(config.extractor)
    said = [bias_sentence(frechet, kernel, provenance, scores[f"{kernel}_std"])]
    if calibrates and config.extractor == INCEPTION:
        said.append(calibration(tracker.experiment, provenance, scores[frechet]))
    said = [sentence for sentence in said if sentence]
    for sentence in said:
        print(sentence)
    try:
        if options.compare:
            both = evaluation.outputs, evaluator.test_b
            theirs = their_fid(options.compare, *both, config.batch_size, evaluator.device)
            said.append(f"{options.compare}: {theirs:.6g} on the same images. {differences(options.compare)}")
            print(said[-1])
            scores = scores | {f"fid_{options.compare}": theirs}
    finally:  # what was computed is kept, also where another implementation fails
        device = {Tag.DEVICE_NAME: device_name(evaluator.device), Tag.TORCH: torch.__version__}
        record = {**made_with, **provenance, **device, "remarks": " ".join(said)}
        run_id = tracker.record_evaluation(f"evaluation of {made_with['evaluated']}", scores, record, evaluation.grid)
        print(f"recorded as run {run_id} of {tracker.experiment}")
    return 0
