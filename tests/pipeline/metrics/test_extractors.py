import hashlib
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.metrics import extractors
from pipeline.metrics.distances import frechet_distance, statistics_of
from pipeline.metrics.extractors import inception_weights, load_extractor, load_lpips, weights_fingerprint
from pipeline.metrics.feature_cache import extract, in_batches
from pipeline.metrics.names import DINOV2, INCEPTION, SMALL_CONV, VGG, metric_names, precision_recall_names

Draw = Callable[..., np.ndarray]
CPU = torch.device("cpu")


@pytest.fixture
def unknown() -> Iterator[None]:
    """A process that has built no extractor, and forgets those of the test."""
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


def test_only_inceptions_distance_is_called_fid() -> None:
    assert metric_names(INCEPTION) == ("fid", "kid")
    assert "fid" not in " ".join(metric_names(SMALL_CONV))
    assert precision_recall_names(INCEPTION) == ("precision", "recall")
    assert set(precision_recall_names(SMALL_CONV)).isdisjoint(precision_recall_names(INCEPTION))


def test_an_extractor_is_built_once_a_process() -> None:
    assert load_extractor(SMALL_CONV, None) is load_extractor(SMALL_CONV, None)


def test_weights_of_fixed_filters_are_known_by_their_content(unknown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {load_extractor(SMALL_CONV, None).weights}
    load_extractor.cache_clear()
    weights.add(load_extractor(SMALL_CONV, None).weights)
    assert len(weights) == 1
    seeded = torch.Generator().manual_seed
    monkeypatch.setattr(extractors.torch, "Generator", lambda: type("", (), {"manual_seed": lambda *_: seeded(1)}))
    load_extractor.cache_clear()
    assert load_extractor(SMALL_CONV, None).weights not in weights


def test_small_extractor_tells_stripes_from_plain(pictures: Draw) -> None:
    drawn = [pictures(0, striped=True), pictures(2, striped=True), pictures(0, striped=False)]
    striped, other, plain = (
        statistics_of(extract(load_extractor(SMALL_CONV, None), in_batches(images, 16), CPU)) for images in drawn
    )
    near, far = frechet_distance(striped, other), frechet_distance(striped, plain)
    assert not math.isnan(near)
    assert far > 8 * near


def test_given_weights_that_are_absent_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.pth: no such file"):
        inception_weights(str(tmp_path / "nowhere.pth"))


def test_weights_are_known_by_content_and_torch_fidelitys_by_their_name(tmp_path: Path) -> None:
    assert weights_fingerprint(INCEPTION, None) == "6726825d"
    (tmp_path / "mine.pth").write_bytes(b"abc")
    assert weights_fingerprint(INCEPTION, str(tmp_path / "mine.pth")) == "ba7816bf"  # SHA-256 of 'abc'


def test_weights_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "torn.pth").write_bytes(b"torn")
    for name in ("other.pth", "torn.pth"):
        with pytest.raises(UserError, match=f"{name}: not the weights") as caught:
            load_extractor(INCEPTION, str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_pickle_that_does_something_is_not_run(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"a": Touches()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil.pth: not the weights"):
        load_extractor(INCEPTION, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "touched").exists()


def test_unreachable_weights_name_the_file_and_where_to_put_it(offline: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_extractor(INCEPTION, None)
    assert "weights-inception-2015-12-05-6726825d.pth" in str(caught.value)
    assert str(offline) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        pytest.param(VGG, ["vgg16-397923af.pth"], marks=pytest.mark.slow),  # drawing its 138 million weights
        (DINOV2, ["dinov2_vitl14_pretrain.pth", f"facebookresearch_dinov2_{extractors.DINOV2_COMMIT}"]),
    ],
)
def test_optional_networks_that_cannot_be_had_name_their_files(offline: Path, name: str, files: list[str]) -> None:
    with pytest.raises(UserError, match=f"^{name}: its weights cannot be loaded") as caught:
        load_extractor(name, None)
    assert "\n" not in str(caught.value)
    assert all(file in str(caught.value) for file in files)


HUBCONF = """
dependencies = ["torch"]
import torch

def dinov2_vitl14():
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((16, 64)), torch.nn.Flatten())
    return torch.nn.Sequential(network, torch.nn.Linear(3 * 16 * 64, 1024, bias=False))
"""


@pytest.fixture
def dinov2(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network in the place of DINOv2, in torch's folder. Returns the folder of its code."""
    (offline / "dinov2_vitl14_pretrain.pth").write_bytes(b"weights")
    monkeypatch.setattr(extractors, "DINOV2_SHA256", hashlib.sha256(b"weights").hexdigest())
    code = offline.parent / f"facebookresearch_dinov2_{extractors.DINOV2_COMMIT}"
    code.mkdir()
    (code / "hubconf.py").write_text(HUBCONF)
    return code


def test_dinov2_is_taken_from_torchs_folder_without_network(dinov2: Path, pictures: Draw) -> None:
    extractor = load_extractor(DINOV2, None)
    features = extract(extractor, in_batches(pictures(0, striped=True, count=3), 2), CPU)
    assert features.shape == (3, extractor.dimensions)
    assert features.dtype == torch.float32


def test_the_code_of_a_moving_branch_is_never_run(dinov2: Path) -> None:
    dinov2.rename(dinov2.with_name("facebookresearch_dinov2_main"))
    with pytest.raises(UserError, match=f"facebookresearch_dinov2_{extractors.DINOV2_COMMIT}"):
        load_extractor(DINOV2, None)


def test_code_that_others_can_change_is_not_run(dinov2: Path) -> None:
    (dinov2 / "hubconf.py").chmod(0o666)
    with pytest.raises(UserError, match=r"hubconf\.py: others can change this code"):
        load_extractor(DINOV2, None)


def test_other_weights_than_the_published_are_refused(dinov2: Path, offline: Path) -> None:
    (offline / "dinov2_vitl14_pretrain.pth").write_bytes(b"other")
    with pytest.raises(UserError, match=r"dinov2_vitl14_pretrain\.pth: its SHA-256 is not the published"):
        load_extractor(DINOV2, None)


@pytest.mark.parametrize("name", ["weights-vgg16-lpips.pth", "vgg16-397923af.pth"])
def test_a_pickle_in_torchs_folder_is_not_run(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # The commands' process refuses pickles as a whole. Here the loader alone must do it.
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)

    class Touches:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"a": Touches()}, offline / name)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_lpips()
    assert not (tmp_path / "touched").exists()
    torch.hub.load_state_dict_from_url(f"http://127.0.0.1:9/{name}")
    assert (tmp_path / "touched").exists(), "the crafted file does nothing, so this test shows nothing"


@pytest.mark.slow
def test_a_file_by_the_published_name_must_be_the_published_file(offline: Path, random_inception: Path) -> None:
    published = inception_weights(None)
    assert published.is_relative_to(offline)
    shutil.copy(random_inception, published)
    with pytest.raises(UserError, match="its SHA-256 does not begin with 6726825d"):
        load_extractor(INCEPTION, None)


@pytest.mark.slow
def test_weights_in_torchs_older_format_are_taken(random_inception: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.pth"
    torch.save(torch.load(random_inception), older, _use_new_zipfile_serialization=False)
    load_extractor(INCEPTION, str(older))


@pytest.mark.slow
def test_given_weights_are_known_by_their_file(random_inception: Path) -> None:
    extractor = load_extractor(INCEPTION, str(random_inception))
    assert extractor.weights == hashlib.sha256(random_inception.read_bytes()).hexdigest()[:8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_extractor_leaves_the_device_when_it_is_done() -> None:
    extractor = load_extractor(SMALL_CONV, None)
    extract(extractor, [torch.zeros(2, 3, 64, 64)], torch.device("cuda"))
    assert not any(tensor.is_cuda for tensor in extractor.network.state_dict().values())
