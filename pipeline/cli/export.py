"""just export: write a trial's networks as the reference code's files."""

from pathlib import Path

from models.reference_checkpoint import reference_networks, reference_weights
from pipeline.config.compose import refuse_other_parts
from pipeline.inference.find import PLACES, find_meant
from pipeline.inference.load import load_objective
from pipeline.training.checkpoint import save_checkpoint


def export(run: str, folder: Path, overrides: list[str]) -> int:
    """Write a trial's networks as the reference code would: latest_net_G.pth and so on."""
    refuse_other_parts(overrides, PLACES)
    for name, network in reference_networks(load_objective(find_meant(run, overrides))).items():
        path = folder / f"latest_net_{name}.pth"
        save_checkpoint(path, reference_weights(network))
        print(path)
    return 0
