import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from pipeline.data.dataset_cache import list_images
from pipeline.data.decoding import decode
from pipeline.data.image_io import resize, write_png
from pipeline.errors import UserError
from pipeline.metrics import feature_cache as features
from pipeline.metrics.distances import frechet_distance, kernel_distance, statistics_of
from pipeline.metrics.extractors import LAYERS, Extractor, load_extractor
from pipeline.metrics.feature_cache import cached_features, extract, in_batches
from pipeline.metrics.names import INCEPTION, SMALL_CONV

Draw = Callable[..., np.ndarray]
CPU = torch.device("cpu")


class Images(Dataset[Tensor]):
    def __init__(self, images: np.ndarray) -> None:
        self.images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


class Registered(FeatureExtractorBase):
    """The small extractor as torch-fidelity's own function calls it."""

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)
        self.network = load_extractor(SMALL_CONV, None).network

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (LAYERS[SMALL_CONV][0],)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return LAYERS[SMALL_CONV][0]

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return self.network(images)


@pytest.fixture
def extractor() -> Extractor:
    return load_extractor(SMALL_CONV, None)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were put through an extractor, call by call."""
    calls: list[int] = []

    def counting(*arguments: object) -> Tensor:
        found = extract(*arguments)  # type: ignore[arg-type]
        calls.append(len(found))
        return found

    monkeypatch.setattr(features, "extract", counting)
    return calls


def cached(extractor: Extractor, images: np.ndarray, cache: Path) -> Tensor:
    return cached_features(extractor, images, cache, 16, CPU)


def test_distances_equal_torch_fidelitys_own_function(pictures: Draw, extractor: Extractor) -> None:
    torch_fidelity.register_feature_extractor(SMALL_CONV, Registered)
    one, two = pictures(0, striped=False), pictures(1, striped=True)
    ours = [extract(extractor, in_batches(images, 16), CPU) for images in (one, two)]
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(one), input2=Images(two), cuda=False, fid=True, kid=True, kid_subset_size=20,
        feature_extractor=SMALL_CONV, verbose=False, save_cpu_ram=True, cache=False,
    )  # fmt: skip
    mean, deviation = kernel_distance(*ours, 20)
    assert frechet_distance(*map(statistics_of, ours)) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)


def test_batch_size_changes_nothing(pictures: Draw, extractor: Extractor) -> None:
    one, many = (extract(extractor, in_batches(pictures(0, striped=True), size), CPU) for size in (1, 32))
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-4)


def test_features_that_are_not_finite_are_refused(pictures: Draw, extractor: Extractor) -> None:
    broken = replace(extractor, network=torch.nn.Module())
    broken.network.forward = lambda images: (torch.full((len(images), 3), torch.nan),)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"small-conv \(weights .*\): .* not finite"):
        extract(broken, in_batches(pictures(0, striped=True, count=2), 2), CPU)


def test_extractors_run_without_tf32_and_leave_it_as_it_was(extractor: Extractor) -> None:
    seen: list[bool] = []

    class Looking(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor]:
            seen.append(torch.backends.cudnn.allow_tf32)
            return (images.float().mean((2, 3)),)

    before = torch.backends.cudnn.allow_tf32
    assert before
    extract(replace(extractor, network=Looking()), [torch.zeros(1, 3, 4, 4)], CPU)
    assert seen == [False]
    with pytest.raises(RuntimeError):
        extract(replace(extractor, network=torch.nn.Linear(3, 3)), [torch.zeros(1, 3, 4, 4)], CPU)
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_same_images_are_put_through_once(
    pictures: Draw, extractor: Extractor, computed: list[int], tmp_path: Path
) -> None:
    images = pictures(0, striped=True)
    first, again = cached(extractor, images, tmp_path), cached(extractor, images.copy(), tmp_path)
    assert torch.equal(first, again)
    assert torch.equal(first, extract(extractor, in_batches(images, 16), CPU))
    assert computed == [40]


def test_a_pixel_a_resize_or_other_weights_are_put_through_anew(
    pictures: Draw, extractor: Extractor, computed: list[int], tmp_path: Path
) -> None:
    images = pictures(0, striped=True)
    cached(extractor, images, tmp_path)
    changed = images.copy()
    changed[7, 1, 2, 3] ^= 1
    cached(extractor, changed, tmp_path)
    larger = np.stack([resize(image.transpose(1, 2, 0), (40, 40)).transpose(2, 0, 1) for image in images])
    cached(extractor, larger, tmp_path)
    cached(replace(extractor, weights="other"), images, tmp_path)
    cached(replace(extractor, resize="other"), images, tmp_path)
    assert computed == [40] * 5
    cached(extractor, images, tmp_path)
    assert computed == [40] * 5


def test_a_files_time_does_not_matter_and_its_content_does(
    pictures: Draw, extractor: Extractor, computed: list[int], tmp_path: Path
) -> None:
    for number, image in enumerate(pictures(0, striped=True, count=3)):
        write_png(tmp_path / f"{number}.png", image.transpose(1, 2, 0))

    def features_of_the_folder() -> Tensor:
        return cached(extractor, decode(list_images(tmp_path), (32, 32), 3), tmp_path / "cache")

    features_of_the_folder()
    os.utime(tmp_path / "1.png", (0, 0))
    features_of_the_folder()
    assert computed == [3]
    write_png(tmp_path / "1.png", np.zeros((32, 32, 3), np.uint8))
    features_of_the_folder()
    assert computed == [3, 3]


@pytest.mark.parametrize("damage", ["torn", "bit", "version", "empty"])
def test_a_damaged_entry_is_said_to_be_and_made_anew(
    pictures: Draw,
    extractor: Extractor,
    computed: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    images = pictures(0, striped=True)
    whole = cached(extractor, images, tmp_path)
    (entry,) = (tmp_path / "features").glob("*.features")
    content = bytearray(entry.read_bytes())
    match damage:
        case "torn":
            content = content[: len(content) // 2]
        case "bit":
            content[-5] ^= 1
        case "version":
            content = content.replace(features.VERSION.encode(), b"features 0")
        case _:
            content.clear()
    entry.write_bytes(content)
    assert torch.equal(cached(extractor, images, tmp_path), whole)
    assert computed == [40, 40]
    assert str(entry) in (said := capsys.readouterr().err) and "written by another version" in said
    assert torch.equal(cached(extractor, images, tmp_path), whole)
    assert computed == [40, 40]


def ask(cache: Path, images: np.ndarray) -> int:
    """How many images this process put through the extractor."""
    calls: list[int] = []
    original = features.extract
    features.extract = lambda *arguments: calls.append(1) or original(*arguments)
    cached(load_extractor(SMALL_CONV, None), images, cache)
    return len(calls)


@pytest.mark.slow
def test_ten_processes_that_ask_at_once_compute_once(pictures: Draw, tmp_path: Path) -> None:
    images = pictures(0, striped=True, count=400, side=64)
    with get_context("spawn").Pool(10) as pool:
        assert sum(pool.starmap(ask, [(tmp_path, images)] * 10)) == 1


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_fid_and_kid_are_those_of_torch_fidelitys_command(
    pictures: Draw, random_inception: Path, tmp_path: Path
) -> None:
    """200 PNGs a side; the files hold the images in memory, and an image alone has the features it has in a batch."""
    drawn = {
        "one": pictures(0, striped=False, count=200, side=64),
        "two": pictures(1, striped=True, count=200, side=64),
    }
    for name, images in drawn.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            write_png(tmp_path / name / f"{number:03d}.png", image.transpose(1, 2, 0))
    command = [
        Path(sys.executable).with_name("fidelity"),
        "--fid",
        "--kid",
        "--kid-subset-size",
        "50",
        "--cpu",
        "--json",
    ]
    command += ["--input1", tmp_path / "one", "--input2", tmp_path / "two", "--silent", "--no-cache"]
    command += ["--feature-extractor-weights-path", random_inception, "--feature-extractor", INCEPTION]
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    theirs = json.loads(told)
    extractor = load_extractor(INCEPTION, str(random_inception))
    from_files = {name: decode(list_images(tmp_path / name), (64, 64), 3) for name in drawn}
    assert all(np.array_equal(from_files[name], drawn[name]) for name in drawn)
    one, two = (extract(extractor, in_batches(images, 32), CPU) for images in drawn.values())
    alone = extract(extractor, in_batches(from_files["one"][:8], 1), CPU)
    torch.testing.assert_close(alone, one[:8], rtol=1e-4, atol=1e-4)
    mean, deviation = kernel_distance(one, two, 50)
    ours = frechet_distance(statistics_of(one), statistics_of(two)), mean, deviation
    names = ("frechet_inception_distance", "kernel_inception_distance_mean", "kernel_inception_distance_std")
    assert ours == pytest.approx([theirs[name] for name in names], rel=1e-4)
