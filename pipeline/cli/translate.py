"""The commands on networks that are trained: apply them, hand them on."""

from pathlib import Path

from models.official import networks, official_weights
from pipeline.config.compose import compose_surroundings, refuse_other_parts, tracking_uri
from pipeline.hardware.device import resolve_device
from pipeline.inference.load import find_checkpoint, load_objective, load_trained
from pipeline.inference.translate import plan_files, translate_files
from pipeline.training.checkpoint import save_checkpoint

# Where checkpoints and records are.
PLACES = ("paths", "tracking")


def translate(run: str, source: Path, target: Path, overrides: list[str]) -> int:
    """Translate an image file, or a folder of them, into PNGs of the same names, sizes and bits."""
    refuse_other_parts(overrides, ("compute", *PLACES))
    device = resolve_device(compose_surroundings(overrides).compute.device)
    trained = load_trained(find_meant(run, overrides))
    files = plan_files(source, target)
    for number, written in enumerate(translate_files(trained.generator.to(device), files, device), start=1):
        print(f"{number}/{len(files)} {written}", flush=True)
    return 0


def export(run: str, folder: Path, overrides: list[str]) -> int:
    """Write a trial's networks as the reference code would: latest_net_G.pth and so on."""
    refuse_other_parts(overrides, PLACES)
    for name, network in networks(load_objective(find_meant(run, overrides))).items():
        path = folder / f"latest_net_{name}.pth"
        save_checkpoint(path, official_weights(network))
        print(path)
    return 0


def find_meant(run: str, overrides: list[str]) -> Path:
    """The checkpoint that a user means, where overrides may say where trials and records are."""
    places = compose_surroundings([text for text in overrides if text.startswith(PLACES)])
    return find_checkpoint(run, Path(places.paths.trials), tracking_uri(places))
