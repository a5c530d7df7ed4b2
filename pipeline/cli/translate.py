"""just translate: apply a trained generator to images."""

from pathlib import Path

from analysis.records.printable import printable
from analysis.records.progress import tracked
from pipeline.config.compose import compose_surroundings, only_parts, refuse_other_parts
from pipeline.hardware.device import resolve_device
from pipeline.inference.describe import describe
from pipeline.inference.find import STORE_PARTS, find_checkpoint
from pipeline.inference.load import load_trained
from pipeline.inference.translate import plan_files, translate_files


def translate(run: str, source: Path, target: Path, overrides: list[str]) -> int:
    """Translate an image or a folder of images. Write PNG files of the same name, size and bit depth."""
    refuse_other_parts(overrides, ("compute", *STORE_PARTS))
    device = resolve_device(compose_surroundings(overrides).compute.device)
    trained = load_trained(find_checkpoint(run, overrides))
    files = plan_files(source, target)
    print(describe(trained, compose_surroundings(only_parts(overrides, STORE_PARTS))), flush=True)
    translated = translate_files(trained.generator.to(device), files, device)
    for _ in tracked(translated, len(files), "translating"):
        pass
    images = "1 image" if len(files) == 1 else f"{len(files)} images"
    where = next(iter(files.values())) if source.is_file() else target
    print(f"Wrote {images} to {printable(where)}")
    return 0
