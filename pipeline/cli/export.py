"""just export: write the networks of a trial as files of the reference code."""

import sys
from pathlib import Path

from models.networks.stylegan2 import StyleGenerator
from models.reference.checkpoint import REFERENCE_BLOCKS, reference_networks, reference_weights
from pipeline.config.compose import refuse_other_parts
from pipeline.errors import UserError
from pipeline.inference.find import STORE_PARTS, find_checkpoint
from pipeline.inference.load import load_trained
from pipeline.training.checkpoint import save_checkpoint


def export(run: str, folder: Path, overrides: list[str]) -> int:
    """Write each network of a trial as folder/latest_net_NAME.pth, with the names G, F, D and so on."""
    refuse_other_parts(overrides, STORE_PARTS)
    trained = load_trained(find_checkpoint(run, overrides))
    if trained.objective is None:
        raise UserError(f"{trained.file}: not a trial's checkpoint. Give a file such as trials/KEY/last.pt.")
    for name, network in reference_networks(trained.objective).items():
        path = folder / f"latest_net_{name}.pth"
        save_checkpoint(path, reference_weights(network))
        print(path)
    if isinstance(trained.generator, StyleGenerator):
        return 0
    blocks = trained.generator.config.blocks
    if blocks not in REFERENCE_BLOCKS:
        allowed = ", ".join(map(str, REFERENCE_BLOCKS))
        print(
            f"The generator has {blocks} residual blocks. The reference code cannot build that (--netG has {allowed}); "
            f"just evaluate and just translate can. Train with model.generator.blocks=6 for files that it loads.",
            file=sys.stderr,
        )
    return 0
