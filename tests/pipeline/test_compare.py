from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from pipeline import compare
from pipeline.compare import their_fid
from pipeline.stripes import draw_pictures

CPU = torch.device("cpu")
PYTORCH_FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
CLEAN_FID_FILE = "inception-2015-12-05.pt"


class Images(Dataset[Tensor]):
    def __init__(self, images: np.ndarray) -> None:
        self.images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


class Brightness(nn.Module):
    """2048 features of an image: random sums of its 8 x 8 mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.mix = nn.AdaptiveAvgPool2d(8), nn.Linear(192, 2048)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.pool(images).flatten(1))


class WithLayers(nn.Module):
    """The part of NVIDIA's network that clean-fid calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Brightness()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def pictures(seed: int, *, striped: bool, size: int = 32, count: int = 12) -> np.ndarray:
    drawn = draw_pictures(count, (size, size), seed, striped=striped).images
    return np.ascontiguousarray(drawn.transpose(0, 3, 1, 2))


def random_inception() -> dict[str, Tensor]:
    """Weights by He's rule, under which features keep their size through so many layers."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        monkey.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        weights = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    for name, tensor in weights.items():
        if name.endswith("conv.weight"):
            nn.init.kaiming_normal_(tensor, nonlinearity="relu")
    return weights


def our_fid(weights: Path, one: np.ndarray, two: np.ndarray) -> float:
    return torch_fidelity.calculate_metrics(
        input1=Images(one), input2=Images(two), cuda=False, fid=True, verbose=False, save_cpu_ram=True, cache=False,
        feature_extractor_weights_path=str(weights),
    )["frechet_inception_distance"]  # fmt: skip


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's folder of weights, empty, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def clean_fid_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """clean-fid's folder, empty, and no network."""
    monkeypatch.setattr(compare, "CLEAN_FID_FOLDER", tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.slow
def test_pytorch_fids_number_is_ours_up_to_its_resize_and_scale(checkpoints, tmp_path, capsys) -> None:
    """By random weights 3.4 % apart at 64 pixels."""
    weights = random_inception()
    torch.save(weights, checkpoints / PYTORCH_FID_FILE)
    one, two = pictures(0, striped=False, size=64), pictures(1, striped=True, size=64)
    theirs = their_fid("pytorch-fid", one, two, 5, CPU)
    assert capsys.readouterr() == ("", "")
    ours = our_fid(checkpoints / PYTORCH_FID_FILE, one, two)
    assert 0.001 < abs(theirs / ours - 1) < 0.1


@pytest.mark.slow
def test_at_299_pixels_pytorch_fid_differs_by_the_scale_of_pixels_alone(checkpoints, tmp_path) -> None:
    """With x / 127.5 - 1 = (256 z + 1) / 255 for z = x / 128 - 1 undone in the first layer, the numbers are the same."""
    weights = random_inception()
    torch.save(weights, tmp_path / "ours.pth")
    first = "Conv2d_1a_3x3"
    kernel = weights[f"{first}.conv.weight"]
    shift = kernel.sum((1, 2, 3)) / 256
    undone = weights | {
        f"{first}.conv.weight": kernel * 255 / 256,
        f"{first}.bn.running_mean": weights[f"{first}.bn.running_mean"] + shift,
    }
    torch.save(undone, checkpoints / PYTORCH_FID_FILE)
    one, two = pictures(0, striped=False, size=299), pictures(1, striped=True, size=299)
    theirs = their_fid("pytorch-fid", one, two, 5, CPU)
    assert theirs == pytest.approx(our_fid(tmp_path / "ours.pth", one, two), rel=1e-4)


@pytest.mark.slow
def test_clean_fid_is_zero_of_equal_sets_and_more_of_others(clean_fid_folder, capsys) -> None:
    torch.manual_seed(0)
    torch.jit.script(WithLayers()).save(clean_fid_folder / CLEAN_FID_FILE)
    one, two = pictures(0, striped=False), pictures(1, striped=True)
    assert abs(their_fid("clean-fid", one, one, 5, CPU)) < 1e-3
    assert their_fid("clean-fid", one, two, 5, CPU) > 0.1
    assert capsys.readouterr() == ("", "")
