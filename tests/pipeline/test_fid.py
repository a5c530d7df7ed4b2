import math

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from pipeline.errors import UserError
from pipeline.fid import distances, extract, in_batches, inception_weights, load_extractor, weights_fingerprint
from pipeline.metrics import INCEPTION, SMALL_CONV, metric_names
from pipeline.stripes import draw_pictures

CPU = torch.device("cpu")
SMALL = SMALL_CONV


class Images(Dataset[Tensor]):
    def __init__(self, images: np.ndarray) -> None:
        self.images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def pictures(seed: int, *, striped: bool, count: int = 40) -> np.ndarray:
    return np.ascontiguousarray(draw_pictures(count, (32, 32), seed, striped=striped).images.transpose(0, 3, 1, 2))


def small_features(images: np.ndarray, batch: int = 16) -> Tensor:
    return extract(load_extractor(SMALL, None, CPU), in_batches(images, batch), CPU)


def test_distances_equal_torch_fidelitys_own_command() -> None:
    one, two = pictures(0, striped=False), pictures(1, striped=True)
    ours = distances(small_features(one), small_features(two), kid_subset_size=20)
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(one), input2=Images(two), cuda=False, fid=True, kid=True, kid_subset_size=20,
        feature_extractor=SMALL, verbose=False, save_cpu_ram=True, cache=False,
    )  # fmt: skip
    assert ours.frechet == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert ours.kernel == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours.kernel_deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)


def test_distance_of_gaussians_equals_the_closed_form() -> None:
    """Independent coordinates: the squared distance of the means and of the standard deviations."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((400, 3))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    means, spreads = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0])
    moved = torch.from_numpy(white * spreads + means)
    expected = float((means**2).sum() + ((spreads - 1) ** 2).sum())
    assert distances(torch.from_numpy(white), moved, 50).frechet == pytest.approx(expected, rel=1e-6)


def test_distance_of_a_set_to_itself_is_zero() -> None:
    features = small_features(pictures(0, striped=True))
    assert abs(distances(features, features, 20).frechet) < 1e-3


def test_order_of_the_images_changes_nothing() -> None:
    one, two = pictures(0, striped=False), small_features(pictures(1, striped=True))
    straight, reversed_ = (distances(small_features(images), two, 20).frechet for images in (one, one[::-1]))
    assert straight == pytest.approx(reversed_, rel=1e-5)


def test_batch_size_changes_nothing() -> None:
    images = pictures(0, striped=True)
    torch.testing.assert_close(small_features(images, 1), small_features(images, 32), rtol=1e-4, atol=1e-4)


def test_only_inceptions_distance_is_called_fid() -> None:
    assert metric_names(INCEPTION) == ("fid", "kid")
    assert "fid" not in " ".join(metric_names(SMALL))


def test_small_extractor_tells_stripes_from_plain() -> None:
    plain, striped = small_features(pictures(0, striped=False)), small_features(pictures(1, striped=True))
    other = small_features(pictures(2, striped=True))
    near, far = distances(striped, other, 20).frechet, distances(striped, plain, 20).frechet
    assert not math.isnan(near)
    assert far > 8 * near


def test_given_weights_that_are_absent_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"nowhere.pth: no such file"):
        inception_weights(str(tmp_path / "nowhere.pth"))


def test_weights_are_known_by_content_and_torch_fidelitys_by_their_name(tmp_path) -> None:
    assert weights_fingerprint(INCEPTION, None) == "6726825d"
    (tmp_path / "mine.pth").write_bytes(b"abc")
    assert weights_fingerprint(INCEPTION, str(tmp_path / "mine.pth")) == "ba7816bf"  # SHA-256 of 'abc'


def test_weights_of_something_else_are_refused_in_one_line(tmp_path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "torn.pth").write_bytes(b"torn")
    for name in ("other.pth", "torn.pth"):
        with pytest.raises(UserError, match=f"{name}: not the weights") as caught:
            load_extractor(INCEPTION, str(tmp_path / name), CPU)
        assert "\n" not in str(caught.value)


def test_unreachable_weights_name_the_file_and_where_to_put_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError) as caught:
        load_extractor(INCEPTION, None, CPU)
    assert "weights-inception-2015-12-05-6726825d.pth" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.slow
def test_inception_with_random_weights_gives_torch_fidelitys_numbers(tmp_path) -> None:
    torch.manual_seed(0)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
    monkey.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    random_weights = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    monkey.undo()
    torch.save(random_weights, tmp_path / "random.pth")

    one, two = pictures(0, striped=False, count=12), pictures(1, striped=True, count=12)
    extractor = load_extractor(INCEPTION, str(tmp_path / "random.pth"), CPU)
    features = [extract(extractor, in_batches(images, 5), CPU) for images in (one, two)]
    ours = distances(*features, kid_subset_size=10)
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(one), input2=Images(two), cuda=False, fid=True, kid=True, kid_subset_size=10, verbose=False,
        feature_extractor_weights_path=str(tmp_path / "random.pth"), save_cpu_ram=True, cache=False,
    )  # fmt: skip
    assert ours.frechet == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert ours.kernel == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
