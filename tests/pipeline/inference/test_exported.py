"""The generator as a file that runs without this project."""

import json
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from models.build import build_objective
from models.configs.networks import GeneratorConfig
from models.configs.sincut import StyleGeneratorConfig
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.networks.stylegan2 import StyleGenerator
from models.networks.stylegan2_layers import initialise_scaled
from models.reference.checkpoint import reference_weights
from pipeline.__main__ import main
from pipeline.config.schema import Config
from pipeline.inference.load import Trained, load_trained
from pipeline.inference.onnx_file import OPSET, write_onnx
from pipeline.inference.program import OUTPUT

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/export.md").read_text(encoding="utf-8")
WITH_ONNXRUNTIME, WITH_TORCH = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# A generator of one block has no more.
LAYERS = "model.places=[pixels,res1]"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)), reason="THE EXTRA IS NOT INSTALLED: pip install -e '.[export]'"
)


def save_generator(path: str, weight: float | None = None) -> None:
    """Write a file of the reference code. weight: all weights of the first convolution."""
    generator = Generator(GeneratorConfig(4, 1, antialias=False), 3, 3)
    initialise(generator, torch.Generator().manual_seed(0))
    weights = reference_weights(generator)
    if weight is not None:
        weights["model.1.weight"].fill_(weight)
    torch.save(weights, path)


@needs_onnx
def test_the_example_of_the_page_gives_what_translate_gives(
    project: Path, pictures: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator("G.pth")
    photo = Image.fromarray(pictures(0, striped=False, count=1, side=64)[0].transpose(1, 2, 0)[:50, :37])
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    photo.save("photo.jpg", exif=turned)
    assert main(["translate", "G.pth", "photo.jpg", "expected.png"]) == 0
    capsys.readouterr()
    assert main(["export", "G.pth", ".", "--onnx"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"generator.onnx (ONNX opset {OPSET}, ") and not said.err
    assert f"opset {OPSET}" in PAGE
    # Nothing of this project.
    assert re.findall(r"^(?:import|from) (\w+)", WITH_ONNXRUNTIME, re.MULTILINE) == ["numpy", "onnxruntime", "PIL"]
    exec(WITH_ONNXRUNTIME, {})
    found, expected = (np.asarray(Image.open(f"{name}.png"), int) for name in ("translation", "expected"))
    assert found.shape == (37, 50, 3)
    assert np.abs(found - expected).max() <= 1
    assert str(ROOT).encode() not in Path("generator.onnx").read_bytes()


@pytest.mark.slow
def test_the_example_for_torch_gives_what_the_trials_generator_gives(trained_project: Path) -> None:
    (file,) = Path("trials").glob("*/last.pt")
    key = file.parent.name
    assert main(["export", key[:8], ".", "--torch-export"]) == 0
    names: dict[str, Any] = {}
    exec(WITH_TORCH, names)
    expected = load_trained(file).generator.translate(torch.zeros(1, 3, 256, 256))
    torch.testing.assert_close(names["translation"], expected, rtol=0, atol=1e-4)
    said = json.loads(names["extra"]["metadata.json"])
    assert (said["run"], said["checkpoint"], said["data"]) == (key, "last.pt", "stripes")
    assert not list(Path.cwd().glob("*.onnx"))
    assert str(ROOT).encode() not in Path("generator.pt2").read_bytes()


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("model=cut", LAYERS),
        ("model=cut", LAYERS, "model.generator.antialias=false", "data.channels_a=1"),
        ("model=cyclegan", "data.channels_b=1"),
        ("model=cyclegan", "model.generator.antialias=true", "data.channels_a=1"),
    ],
    ids=" ".join,
)
def test_an_onnx_file_gives_what_its_generator_gives_at_every_size(
    tmp_path: Path, tiny: Callable[..., Config], overrides: tuple[str, ...]
) -> None:
    import onnx
    import onnxruntime

    config = tiny("model.generator.blocks=1", *overrides)
    objective = build_objective(config.model, config.data.shape, torch.Generator().manual_seed(0))
    generator, path = objective.translator, tmp_path / "generator.onnx"
    assert write_onnx(Trained(generator, Path("8916fe45/last.pt"), objective, config, 7), path) < 1e-4
    onnx.checker.check_model(path, full_check=True)
    assert [(used.domain, used.version) for used in onnx.load(path).opset_import] == [("", OPSET)]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 8, 8), (3, 12, 100), (2, 132, 36)):
        image = 2 * torch.rand(batch, generator.in_channels, height, width) - 1
        (found,) = session.run([OUTPUT], {"image": image.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), generator.translate(image), rtol=0, atol=1e-4)
    shape = config.data.shape
    assert session.get_modelmeta().custom_metadata_map == {
        "made_by": "cut-ablation",
        "run": "8916fe45",
        "checkpoint": "last.pt",
        "step": "7",
        "method": "CUT" if "model=cut" in overrides else "CycleGAN",
        "data": "stripes",
        "trained_size": "32 x 32",
        "channels_a": str(shape.channels_a),
        "channels_b": str(shape.channels_b),
    }


@pytest.mark.slow
@pytest.mark.parametrize("option", [pytest.param("--onnx", marks=needs_onnx), "--torch-export"])
def test_a_file_that_differs_from_its_checkpoint_is_not_kept(
    project: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """Here because all values become infinite, and then not a number."""
    save_generator("G.pth", weight=1e38)
    assert main(["export", "G.pth", "out", option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out/generator.") and "differs from the checkpoint by nan" in line
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_onnx_files_need_is_named_before_anything_is_read(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["export", "nothing.pth", "out", "--onnx"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --onnx: {name} is not installed. Run: pip install 'cut-ablation[export]'"


@needs_onnx
@pytest.mark.slow
def test_an_onnx_file_of_sincut_takes_the_noise_as_its_second_input(tmp_path: Path) -> None:
    import onnxruntime

    generator, path = StyleGenerator(StyleGeneratorConfig(1)), tmp_path / "generator.onnx"
    rng = torch.Generator().manual_seed(0)
    initialise_scaled(generator, rng)
    torch.nn.init.ones_(generator.stages["up"].noise_weight)
    assert write_onnx(Trained(generator, Path("G.pth"), None, None, 0), path) < 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image, noise = torch.rand(3, 3, 12, 100, generator=rng), torch.randn(3, 1, 12, 100, generator=rng)
    (found,) = session.run([OUTPUT], {"image": image.numpy(), "noise": noise.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), generator.translate(image, noise), rtol=0, atol=1e-4)
