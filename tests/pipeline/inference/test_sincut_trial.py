"""SinCUT through the commands: a file of the released code applied; a trial trained, exported and applied."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from models.configs.sincut import StyleGeneratorConfig
from models.networks.stylegan2 import StyleGenerator
from models.networks.stylegan2_layers import initialise_scaled
from models.reference.checkpoint import reference_weights
from pipeline.__main__ import main
from pipeline.data.image_io import read_image, write_png
from pipeline.inference.translate import translate_picture
from pipeline.training.checkpoint import save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def crops(project: Path) -> tuple[str, ...]:
    """Overrides of a small trial on one image of each domain."""
    rng = np.random.default_rng(0)
    for folder in ("trainA", "trainB"):
        write_png(project / "crops" / folder / "0.png", rng.integers(0, 256, (40, 56, 3), np.uint8))
    return (
        *("task=single", "data.name=crops", "data.root=crops", "data.crops_per_epoch=4", "data.size=32"),
        *("model=sincut", "model.generator.channels=1", "model.generator.start_size=32"),
        *("model.discriminator.channels=1", "model.projection_units=8"),
        *("train.constant_epochs=1", "train.decay_epochs=1", "train.batch_size=2", "compute.device=cpu"),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_the_released_code_translates_an_image_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = StyleGenerator(StyleGeneratorConfig(1), channels, channels)
    initialise_scaled(generator, torch.Generator().manual_seed(0))
    save_checkpoint(Path("latest_net_G.pth"), reference_weights(generator))
    levels = np.random.default_rng(1).integers(0, 256, (50, 71, channels), np.uint8)
    write_png(Path("large.png"), levels)
    assert main(["translate", "latest_net_G.pth", "large.png", "out", "compute.device=cpu"]) == 0
    assert np.array_equal(read_image(Path("out/large.png")), translate_picture(generator, levels, CPU))


@pytest.mark.slow
def test_a_trial_is_trained_exported_and_applied(
    project: Path, crops: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *crops]) == 0
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("crops")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=1)
    key = run.data.tags["trial_key"]
    assert main(["export", key, "exported"]) == 0
    assert {path.name for path in Path("exported").iterdir()} == {f"latest_net_{name}.pth" for name in "GDF"}
    # Sides that are no multiples of 4, and other than the crops'.
    write_png(project / "large.png", np.random.default_rng(1).integers(0, 256, (50, 71, 3), np.uint8))
    capsys.readouterr()
    for source, folder in ((key, "one"), ("exported/latest_net_G.pth", "two")):
        assert main(["translate", source, "large.png", folder]) == 0
    assert "SinCUT" in capsys.readouterr().out
    one, two = read_image(project / "one/large.png"), read_image(project / "two/large.png")
    assert one.shape == (50, 71, 3)
    assert np.array_equal(one, two)
