"""Translate image files with a generator. The outputs are PNG files of the same names, sizes and bits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.records.printable import printable
from models.images import MIN_SIDE, to_bits, to_model_range
from models.networks.any_generator import AnyGenerator
from models.networks.tiles import translation_of
from pipeline.data.image_io import SUFFIXES, Picture, file_status, image_files, read_image, with_channels, write_png
from pipeline.errors import UserError


def plan_files(source: Path, target: Path) -> dict[Path, Path]:
    """Return the output file for each image file of `source`, which is a file or a folder.

    Earlier outputs are overwritten, inputs never. Raises UserError if there is nothing to read, or if two images would
    have the same output file.
    """
    if source.is_dir():
        files = {path: target / f"{path.stem}.png" for path in image_files(source)}
        if not files:
            raise UserError(
                f"{printable(source)}: no images in it. These formats can be read: {' '.join(sorted(SUFFIXES))}"
            )
    elif source.is_file() and target.suffix.lower() in SUFFIXES - {".png"}:
        raise UserError(f"{printable(target)}: outputs are PNG files. Give a name that ends in .png, or a folder")
    elif source.is_file():
        files = {source: target if target.suffix.lower() == ".png" else target / f"{source.stem}.png"}
    else:
        raise UserError(f"{printable(source)}: no such file or folder. Give images to translate")
    for path in files:
        file_status(path)  # refuses links in circles, pipes and devices
    sources = {path.resolve() for path in files}
    written: dict[Path, Path] = {}
    for path, output in files.items():
        if output.resolve() in sources:
            raise UserError(f"{printable(output)}: is an input and would be overwritten. Choose another OUTPUT")
        twin = written.setdefault(output, path)
        if twin != path:
            raise UserError(
                f"{printable(path)}: becomes {printable(output)}, and so does {printable(twin.name)}. "
                "Rename one of them"
            )
    return files


def translate_files(generator: AnyGenerator, files: dict[Path, Path], device: torch.device) -> Iterator[Path]:
    """Translate each file, write it and yield its path. Raises UserError for a file that cannot be read."""
    for source, target in files.items():
        picture = read_image(source)
        if min(picture.shape[:2]) < MIN_SIDE:
            height, width = picture.shape[:2]
            raise UserError(f"{printable(source)}: {height} x {width} pixels. Each side must be at least {MIN_SIDE}")
        try:
            write_png(target, translate_picture(generator, picture, device))
        except OSError as error:
            raise UserError(
                f"{printable(target)}: cannot be written ({error.strerror}). Choose another OUTPUT"
            ) from None
        yield target


def translate_picture(generator: AnyGenerator, picture: Picture, device: torch.device) -> Picture:
    """Translate (H, W, 1 or 3) into (H, W, the generator's channels) with the same number of bits."""
    levels = torch.from_numpy(np.array(with_channels(picture, generator.in_channels).transpose(2, 0, 1)))
    output = translate_tensor(generator, to_model_range(levels.to(device)))
    return to_bits(output, levels.dtype).cpu().numpy().transpose(1, 2, 0)


def translate_tensor(generator: AnyGenerator, image: Tensor) -> Tensor:
    """Translate (C, H, W) in [-1, 1], float32 on the generator's device, into the same height and width.

    Sides must be multiples of 4, so the image is padded by reflection and the output is cropped.
    """
    height, width = image.shape[1:]
    padded = F.pad(image[None], (0, -width % 4, 0, -height % 4), mode="reflect")
    return translation_of(generator)(padded)[0, :, :height, :width]
