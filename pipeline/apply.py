"""The commands on networks that are trained: score them, apply them, hand them on."""

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Column, Table

from models.official import networks, official_weights
from pipeline.checkpoint import save_checkpoint
from pipeline.compute import resolve_device
from pipeline.config import change_config, compose_surroundings, refuse_other_parts, tracking_uri
from pipeline.data import decode, list_images, open_dataset, prepare
from pipeline.errors import UserError
from pipeline.evaluate import Evaluator
from pipeline.settings import Config
from pipeline.trained import Trained, find_checkpoint, load_objective, load_trained
from pipeline.translate import plan_files, translate_files

# Where checkpoints and records are, and with that all that can be set for a trial that is trained already.
PLACES = ("paths", "tracking")
AFTER_TRAINING = ("data", "metric", "compute", *PLACES)


def evaluate(what: str, overrides: list[str]) -> int:
    """Score a trial, a checkpoint (also the reference code's) or a folder of images against the test images of B."""
    if Path(what).is_dir() and not (Path(what) / "last.pt").exists():
        return _evaluate_folder(Path(what), compose_surroundings(overrides))
    trained = load_trained(_find(what, overrides))
    if trained.config:
        return _evaluate_trained(trained, change_config(trained.config, overrides, AFTER_TRAINING))
    return _evaluate_trained(trained, compose_surroundings(overrides))


def translate(run: str, source: Path, target: Path, overrides: list[str]) -> int:
    """Translate an image file, or a folder of them, into PNGs of the same names, sizes and bits."""
    refuse_other_parts(overrides, ("compute", *PLACES))
    device = resolve_device(compose_surroundings(overrides).compute.device)
    trained = load_trained(_find(run, overrides))
    files = plan_files(source, target)
    for number, written in enumerate(translate_files(trained.generator.to(device), files, device), start=1):
        print(f"{number}/{len(files)} {written}", flush=True)
    return 0


def export(run: str, folder: Path, overrides: list[str]) -> int:
    """Write a trial's networks as the reference code would: latest_net_G.pth and so on."""
    refuse_other_parts(overrides, PLACES)
    for name, network in networks(load_objective(_find(run, overrides))).items():
        path = folder / f"latest_net_{name}.pth"
        save_checkpoint(path, official_weights(network))
        print(path)
    return 0


def _evaluate_trained(trained: Trained, config: Config) -> int:
    _require_fit(trained, config)
    evaluator = _evaluator(config)
    scores = evaluator.evaluate(trained.generator.to(evaluator.device).translate).scores
    when = "" if trained.step is None else f" (step {trained.step})"
    _print_scores(f"{config.data.name}: test images of A translated by {trained.file}{when}", scores, evaluator)
    return 0


def _require_fit(trained: Trained, config: Config) -> None:
    generator, data = trained.generator, config.data
    needed = {"channels_a": generator.in_channels, "channels_b": generator.out_channels}
    for name, channels in needed.items():
        if channels != getattr(data, name):
            raise UserError(f"{trained.file}: goes with data.{name}={channels}; found {getattr(data, name)}")
    if any(side % 4 for side in data.size):
        raise UserError(f"{trained.file}: takes sides that are multiples of 4; data.size is {list(data.size)}")


def _evaluate_folder(folder: Path, config: Config) -> int:
    images = decode(list_images(folder), config.data.size, config.data.channels_b)
    evaluator = _evaluator(config)
    title = f"{config.data.name}: {len(images)} images of {folder}, as they are"
    _print_scores(title, evaluator.score_images(images), evaluator)
    return 0


def _evaluator(config: Config) -> Evaluator:
    # As many threads as the trial had: sums in another order could round an output to another level.
    if config.compute.cpus_per_trial != "auto":
        torch.set_num_threads(config.compute.cpus_per_trial)
    dataset = open_dataset(prepare(config.data, Path(config.paths.cache)).folder)
    return Evaluator(dataset, config.metric, resolve_device(config.compute.device))


def _print_scores(title: str, scores: dict[str, float], evaluator: Evaluator) -> None:
    source = evaluator.score_source()
    table = Table("", Column("score", justify="right"), Column("A untranslated", justify="right"))
    for name, score in scores.items():
        table.add_row(name, f"{score:.6g}", f"{source[name]:.6g}")
    print(f"{title}; against {len(evaluator.test_b)} test images of B, {evaluator.config.extractor}")
    Console().print(table)


def _find(run: str, overrides: list[str]) -> Path:
    """The checkpoint that a user means, where overrides may say where trials and records are."""
    places = compose_surroundings([text for text in overrides if text.startswith(PLACES)])
    return find_checkpoint(run, Path(places.paths.trials), tracking_uri(places))
