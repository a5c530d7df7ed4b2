"""just export: write the networks of a trial as files of the reference code, or its generator as ONNX or for torch."""

import sys
from pathlib import Path

from models.networks.stylegan2 import StyleGenerator
from models.reference.checkpoint import REFERENCE_BLOCKS, reference_networks, reference_weights
from pipeline.config.compose import refuse_other_parts
from pipeline.errors import UserError
from pipeline.inference.find import STORE_PARTS, find_checkpoint
from pipeline.inference.load import Trained, load_trained
from pipeline.inference.onnx_file import OPSET, require_onnx, write_onnx
from pipeline.inference.program import write_program
from pipeline.training.checkpoint import save_checkpoint


def export(run: str, folder: Path, overrides: list[str], *, onnx: bool = False, torch_export: bool = False) -> int:
    """Write each network of a trial as folder/latest_net_NAME.pth, with the names G, F, D and so on.

    onnx, torch_export: instead of these, write the generator as folder/generator.onnx or folder/generator.pt2.
    """
    refuse_other_parts(overrides, STORE_PARTS)
    if onnx:
        require_onnx()
    trained = load_trained(find_checkpoint(run, overrides))
    if onnx:
        path = folder / "generator.onnx"
        _say(path, f"ONNX opset {OPSET}", write_onnx(trained, path))
    if torch_export:
        path = folder / "generator.pt2"
        _say(path, "torch.export", write_program(trained, path))
    if not (onnx or torch_export):
        _write_reference_files(trained, folder)
    return 0


def _say(path: Path, kind: str, difference: float) -> None:
    sizes = "any batch, height and width in multiples of 4"
    print(f"{path} ({kind}, float32, {sizes}; largest difference from the checkpoint: {difference:.1e})")


def _write_reference_files(trained: Trained, folder: Path) -> None:
    if trained.objective is None:
        raise UserError(f"{trained.file}: not a trial's checkpoint. Give a file such as trials/KEY/last.pt.")
    for name, network in reference_networks(trained.objective).items():
        path = folder / f"latest_net_{name}.pth"
        save_checkpoint(path, reference_weights(network))
        print(path)
    if isinstance(trained.generator, StyleGenerator):
        return
    blocks = trained.generator.config.blocks
    if blocks not in REFERENCE_BLOCKS:
        allowed = ", ".join(map(str, REFERENCE_BLOCKS))
        print(
            f"The generator has {blocks} residual blocks. The reference code cannot build that (--netG has {allowed}); "
            f"just evaluate and just translate can. Train with model.generator.blocks=6 for files that it loads.",
            file=sys.stderr,
        )
