import hashlib
import importlib.util
from pathlib import Path

import cleanfid.features
import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pipeline.errors import UserError
from pipeline.metrics import other_fid as compare
from pipeline.metrics.extractors import untrained_inception
from pipeline.metrics.other_fid import DIFFERENCES, MODULES, require_installed, their_fid

PUBLISHED = dict(compare.SHA256)
CPU = torch.device("cpu")
BLACK = np.zeros((2, 3, 8, 8), np.uint8)
WEIGHTS = {
    "pytorch-fid": "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth",
    "clean-fid": "hub/checkpoints/inception-2015-12-05.pt",
}


class Images(TensorDataset):
    """torch-fidelity takes images alone, not tuples of one."""

    def __getitem__(self, index: int) -> Tensor:
        return super().__getitem__(index)[0]


class Colours(nn.Module):
    """2048 features of an image: random sums of its 8 x 8 mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.mix = nn.AdaptiveAvgPool2d(8), nn.Linear(192, 2048)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.pool(images).flatten(1))


class WithLayers(nn.Module):
    """What clean-fid calls of NVIDIA's network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Colours()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def too_few_features() -> nn.Module:
    """A network at which clean-fid fails, and soon."""
    network = WithLayers()
    network.layers.mix = nn.Linear(192, 3)
    return network


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where each package looks for its weights: nothing is there, and nothing can be fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # Nobody has the published weights here, so any content will do.
    monkeypatch.setattr(compare, "SHA256", dict.fromkeys(WEIGHTS, ""))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return {name: tmp_path / file for name, file in WEIGHTS.items()}


def torch_fidelitys_fid(inception: dict[str, Tensor], one: np.ndarray, two: np.ndarray, folder: Path) -> float:
    torch.save(inception, folder / "ours.pth")
    input1, input2 = (Images(torch.from_numpy(images)) for images in (one, two))
    return torch_fidelity.calculate_metrics(
        input1=input1, input2=input2, cuda=False, fid=True, verbose=False, save_cpu_ram=True, cache=False,
        feature_extractor_weights_path=str(folder / "ours.pth"),
    )["frechet_inception_distance"]  # fmt: skip


def one_line(name: str, one: np.ndarray = BLACK, two: np.ndarray = BLACK) -> str:
    with pytest.raises(UserError) as caught:
        their_fid(name, one, two, 5, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_pytorch_fid_is_near_to_ours_and_not_equal(weights, pictures, tmp_path, capfd) -> None:
    """3.4 % apart at 64 pixels, by random weights."""
    inception = untrained_inception(0)
    torch.save(inception, weights["pytorch-fid"])
    one, two = (pictures(number, striped=bool(number), count=12, side=64) for number in (0, 1))
    theirs = their_fid("pytorch-fid", one, two, 5, CPU)
    assert capfd.readouterr() == ("", "")
    assert 0.01 < abs(theirs / torch_fidelitys_fid(inception, one, two, tmp_path) - 1) < 0.1


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_without_a_resize_pytorch_fid_differs_by_the_scale_of_pixels_alone(weights, pictures, tmp_path) -> None:
    """x / 127.5 - 1 is (256 z + 1) / 255 of z = x / 128 - 1: taken back in the first layer, it gives our number."""
    inception = untrained_inception(0)
    kernel, mean = (f"Conv2d_1a_3x3.{part}" for part in ("conv.weight", "bn.running_mean"))
    taken_back = {
        kernel: inception[kernel] * 255 / 256,
        mean: inception[mean] + inception[kernel].sum((1, 2, 3)) / 256,
    }
    torch.save(inception | taken_back, weights["pytorch-fid"])
    one, two = (pictures(number, striped=bool(number), count=12, side=299) for number in (0, 1))
    ours = torch_fidelitys_fid(inception, one, two, tmp_path)
    assert their_fid("pytorch-fid", one, two, 5, CPU) == pytest.approx(ours, rel=1e-4)


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_clean_fid_of_equal_sets_is_zero_and_of_others_more(weights, pictures, capfd) -> None:
    torch.manual_seed(0)
    torch.jit.script(WithLayers()).save(weights["clean-fid"])
    one, two = (pictures(number, striped=bool(number), count=12) for number in (0, 1))
    assert abs(their_fid("clean-fid", one, one, 5, CPU)) < 1e-3
    assert their_fid("clean-fid", one, two, 5, CPU) > 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_file_by_the_published_name_must_have_the_published_content(weights, monkeypatch, name) -> None:
    monkeypatch.setattr(compare, "SHA256", {**compare.SHA256, name: PUBLISHED[name]})
    weights[name].write_bytes(b"other")
    assert f"{weights[name]}: its SHA-256 is not the published" in one_line(name)


def test_clean_fids_network_in_the_folder_for_temporary_files_is_not_run(weights, tmp_path, monkeypatch) -> None:
    """clean-fid's own code looks there."""
    asked = []
    monkeypatch.setattr(cleanfid.features, "InceptionV3W", lambda path, **_: asked.append(Path(path)) or nn.Identity())
    cleanfid.features.build_feature_extractor("clean", CPU, use_dataparallel=False)
    assert asked == [Path("/tmp")]
    assert str(weights["clean-fid"]) in one_line("clean-fid")


def test_each_implementation_says_what_it_does_otherwise() -> None:
    assert set(DIFFERENCES) == set(MODULES) == {"pytorch-fid", "clean-fid"}
    assert all(text.startswith(f"{name} resizes with ") for name, text in DIFFERENCES.items())


def test_an_unknown_implementation_is_told_the_known_ones() -> None:
    for name, mend in (("torch-fid", "did you mean pytorch-fid?"), ("x", "known: clean-fid, pytorch-fid")):
        with pytest.raises(UserError) as caught:
            require_installed(name)
        assert str(caught.value) == f"compare={name}: no such implementation; {mend}"


@pytest.mark.parametrize("name", MODULES)
def test_a_package_that_is_absent_is_named_with_its_installation(name, monkeypatch) -> None:
    monkeypatch.setattr(compare, "find_spec", lambda module: importlib.util.find_spec(f"absent_{module}"))
    with pytest.raises(UserError, match=f"pip install {name}"):
        require_installed(name)


@pytest.mark.parametrize("name", MODULES)
def test_weights_that_cannot_be_fetched_name_the_file_and_leave_nothing(name, weights) -> None:
    told = one_line(name)
    assert told.startswith(f"compare={name}: its weights are not at {weights[name]} and https://")
    assert told.endswith("put it there")
    assert not [path for path in weights["clean-fid"].parent.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("content", [b"", b"torn"])
def test_torn_weights_are_named(name, content, weights) -> None:
    weights[name].write_bytes(content)
    told = one_line(name)
    assert told.startswith(f"{weights[name]}: not the Inception of {name} (")
    assert "Remove it" in told


def test_weights_of_something_else_are_named(weights) -> None:
    torch.save({"a": torch.zeros(2)}, weights["pytorch-fid"])
    torch.jit.script(nn.Identity()).save(weights["clean-fid"])
    for name in MODULES:
        assert one_line(name).startswith(f"{weights[name]}: not the Inception of {name} (")


@pytest.mark.parametrize("name", MODULES)
def test_one_image_is_too_few(name) -> None:
    assert f"compare={name}: 1 and 2 images" in one_line(name, BLACK[:1])


def test_clean_fids_weights_are_fetched_and_a_torn_download_is_not_kept(weights, tmp_path, monkeypatch) -> None:
    served = tmp_path / "served" / WEIGHTS["clean-fid"]
    served.parent.mkdir(parents=True)
    monkeypatch.setattr("cleanfid.downloads_helper.inception_url", served.as_uri())
    torch.jit.script(too_few_features()).save(served)
    whole = served.read_bytes()

    monkeypatch.setitem(compare.SHA256, "clean-fid", hashlib.sha256(whole).hexdigest())
    served.write_bytes(whole[:1000])
    assert "cannot be downloaded (invalid hash value" in one_line("clean-fid")
    assert list(weights["clean-fid"].parent.iterdir()) == []

    served.write_bytes(whole)
    assert one_line("clean-fid").startswith("compare=clean-fid: the package fails (")
    assert weights["clean-fid"].read_bytes() == whole


def test_a_package_that_fails_is_named_with_what_it_said(weights) -> None:
    torch.jit.script(too_few_features()).save(weights["clean-fid"])
    assert one_line("clean-fid").startswith("compare=clean-fid: the package fails (")
