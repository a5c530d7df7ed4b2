"""A trained generator as a program that runs without this project: traced by torch.export, for images of any size."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from analysis.records.printable import printable
from models.images import MIN_SIDE
from models.networks.any_generator import AnyGenerator
from models.networks.stylegan2 import StyleGenerator
from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.inference.describe import METHODS
from pipeline.inference.load import Trained

OUTPUT = "translation"
# A file is compared with torch on these sizes: batch, height and width.
CHECKED_SIZES = ((1, 256, 256), (2, 64, 96))
# Between values in [-1, 1]. A level of 8 bits is 8e-3.
LARGEST_DIFFERENCE = 1e-4


def input_channels(generator: AnyGenerator) -> dict[str, int]:
    """Return the channels of each input (B, channels, H, W) of the program, by the name that `forward` has for it."""
    noise = {"noise": 1} if isinstance(generator, StyleGenerator) else {}
    return {"image": generator.in_channels, **noise}


def input_sizes(generator: AnyGenerator) -> dict[str, Any]:
    """Return the names of the sizes that may vary, as torch.export takes them."""
    sizes = {
        0: Dim("batch"),
        2: 4 * Dim("quarter_height", min=MIN_SIDE // 4),
        3: 4 * Dim("quarter_width", min=MIN_SIDE // 4),
    }
    return {"inputs": (sizes,) * len(input_channels(generator))}


def traced(generator: AnyGenerator) -> ExportedProgram:
    """Return the program. It gives the translation alone, without features."""
    program = torch.export.export(
        _Translation(generator).eval(),
        _random_inputs(generator, (2, 16, 24), torch.Generator()),
        dynamic_shapes=input_sizes(generator),
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def metadata(trained: Trained) -> dict[str, str]:
    """Return what a file says of its generator. The training is known of a trial's checkpoint alone."""
    generator, config = trained.generator, trained.config
    known = {
        "made_by": "cut-ablation",
        "checkpoint": printable(trained.file.name),
        "channels_a": str(generator.in_channels),
        "channels_b": str(generator.out_channels),
    }
    if config is None:
        return known
    height, width = config.data.size
    return known | {
        "run": printable(trained.file.absolute().parent.name),
        "method": METHODS[config.model.method],
        "data": config.data.name,
        "trained_size": f"{height} x {width}",
        "step": str(trained.step),
    }


def write_program(trained: Trained, path: Path) -> float:
    """Write the program as a file of torch.export, with `metadata.json` in it. Return its difference as `checked`."""
    stream = io.BytesIO()
    torch.export.save(traced(trained.generator), stream, extra_files={"metadata.json": json.dumps(metadata(trained))})
    with replacing(path) as partial:
        partial.write_bytes(stream.getvalue())
        stream.seek(0)
        return checked(path, trained.generator, torch.export.load(stream).module())


def checked(path: Path, generator: AnyGenerator, run: Callable[..., Tensor]) -> float:
    """Return the largest difference between what the file's program and the generator give for random images.

    run: calls the program with its inputs. Raises UserError if it is too large.
    """
    expected = _Translation(generator)
    rng = torch.Generator().manual_seed(0)
    differences: list[Tensor] = []
    for size in CHECKED_SIZES:
        inputs = _random_inputs(generator, size, rng)
        with torch.no_grad():
            differences.append((run(*inputs) - expected(*inputs)).abs().max())
    largest = float(torch.stack(differences).max())
    # Of values that are not finite, nothing is true.
    if not largest <= LARGEST_DIFFERENCE:
        raise UserError(
            f"{printable(path)}: not written, because it differs from the checkpoint by {largest:.1e}, and at most "
            f"{LARGEST_DIFFERENCE:.0e} is allowed. Export an earlier checkpoint"
        )
    return largest


class _Translation(nn.Module):
    """The generator without its features. Its inputs are those of `input_channels`, in that order."""

    def __init__(self, generator: AnyGenerator) -> None:
        super().__init__()
        self.generator, self.names = generator, tuple(input_channels(generator))

    # Not by name: torch 2.14 writes a program with keyword arguments that it cannot run.
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.generator(**dict(zip(self.names, inputs, strict=True)))[0]


def _random_inputs(generator: AnyGenerator, size: tuple[int, int, int], rng: torch.Generator) -> tuple[Tensor, ...]:
    """Return images of (batch, height, width) with values in [-1, 1]."""
    batch, height, width = size
    return tuple(
        2 * torch.rand(batch, channels, height, width, generator=rng) - 1
        for channels in input_channels(generator).values()
    )
