from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from pipeline.config.schema import Config, MetricConfig
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.errors import UserError
from pipeline.metrics.evaluator import Evaluator
from pipeline.metrics.extra_metrics import background_change, pair_metrics, require_networks, set_metrics, truth_metrics
from pipeline.metrics.extractors import load_lpips
from pipeline.metrics.segmentation import CLASSES

Draw = Callable[..., np.ndarray]
CPU = torch.device("cpu")
NOTHING = np.empty((0, 3, 0, 0), np.uint8)


def test_background_change_counts_the_ground_alone() -> None:
    source = np.zeros((1, 3, 2, 2), dtype=np.uint8)
    output = source.copy()
    output[..., 0, 0] = 30  # ground
    output[..., 1, 1] = 200  # blob
    ground = np.array([[[True, True], [True, False]]])
    assert background_change(ground, source, output) == {"background_change": pytest.approx(10)}


def test_nothing_is_measured_that_was_not_asked_for(pictures: Draw, tmp_path: Path) -> None:
    config = MetricConfig(extractor="small-conv")
    assert set_metrics(config, NOTHING, pictures(0, striped=True, count=4), tmp_path, CPU) == []
    assert pair_metrics(config, NOTHING, CPU) == []
    assert truth_metrics(None, None) == []


def test_precision_and_recall_of_the_small_extractor_have_names_of_their_own(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny("metric.also=[precision_recall]")
    evaluator = Evaluator(open_dataset(prepare(config.data, tmp_path).folder), config.metric, CPU, tmp_path)
    queue = list(torch.from_numpy(np.array(evaluator.dataset.test_b)).split(config.metric.batch_size))
    scores = evaluator.evaluate(lambda _: queue.pop(0).float() / 127.5 - 1).scores
    assert scores["precision_small_conv"] == scores["recall_small_conv"] == 1
    assert "precision" not in scores
    assert {"precision_small_conv", "recall_small_conv"} <= set(evaluator.score_source())


def test_neighbourhoods_of_three_need_four_images(pictures: Draw, tmp_path: Path) -> None:
    config = MetricConfig(extractor="small-conv", also=("precision_recall",))
    three, four = (pictures(0, striped=True, count=count) for count in (3, 4))
    with pytest.raises(UserError, match=r"3 images.* 4"):
        set_metrics(config, three, four, tmp_path, CPU)
    with pytest.raises(UserError, match=r"3 images.* 4"):
        set_metrics(config, four, three, tmp_path, CPU)
    (metric,) = set_metrics(config, four, four, tmp_path, CPU)
    with pytest.raises(UserError, match=r"2 images.* 4"):
        metric.score(pictures(1, striped=True, count=2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_a_segmenter_finds_in_the_outputs_what_the_inputs_say(tmp_path: Path) -> None:
    """The network knows the classes by their colours, so label images are photographs that it reads right."""

    class ByColour(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colours = torch.nn.Buffer(torch.tensor(list(CLASSES.values())) / 255)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return -(images[:, None] - self.colours[:, :, None, None]).square().sum(2)

    torch.jit.trace(ByColour(), torch.zeros(1, 3, 8, 8)).save(tmp_path / "net.pt")
    road, car = (np.array(CLASSES[name], dtype=np.uint8) for name in ("road", "car"))
    labels = np.broadcast_to(road[:, None, None], (3, 3, 8, 8)).copy()
    labels[:, :, 4:] = car[:, None, None]
    config = MetricConfig(batch_size=2, segmentation=str(tmp_path / "net.pt"))
    (metric,) = pair_metrics(config, labels, CPU)
    pixels = {"mAP": 100, "pixAcc": 100, "classAcc": 100}
    # All cars have the same size, so nothing can be said of whether it is kept.
    kept = {"object_iou": 1, "ground_changed": 0, "objects_lost": 0, "objects_invented": 0}
    assert metric.score(labels, labels) == pixels | kept
    with pytest.raises(UserError, match="levels away from the colours of Cityscapes' labels"):
        pair_metrics(config, np.full_like(labels, 128), CPU)
    all_road = np.broadcast_to(road[:, None, None], labels.shape).copy()
    assert set(metric.made_with) == {"segmenter"}
    pixels = {"mAP": 25, "pixAcc": 50, "classAcc": 50}
    assert metric.score(labels, all_road) == pixels | kept | {"object_iou": 0, "objects_lost": 100}
    (metric,) = pair_metrics(config, all_road, CPU)
    assert set(metric.score(all_road, all_road)) == set(pixels), "labels without an object have no score of objects"


def test_what_cannot_be_had_is_said_before_anything_is_trained(offline: Path, tmp_path: Path) -> None:
    require_networks(MetricConfig(extractor="small-conv"))
    with pytest.raises(UserError, match=r"nowhere.pt"):
        require_networks(MetricConfig(extractor="small-conv", segmentation=str(tmp_path / "nowhere.pt")))
    with pytest.raises(
        UserError, match=r"put checkpoints/weights-vgg16-lpips.pth and checkpoints/vgg16-397923af.pth into"
    ) as caught:
        require_networks(MetricConfig(extractor="small-conv", also=("lpips",)))
    assert str(offline.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_lpips_and_vggs_precision_are_torch_fidelitys_by_weights_in_torchs_folder(
    offline: Path, pictures: Draw, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), offline / "vgg16-397923af.pth")
    channels = (64, 128, 256, 512, 512)
    heads = {f"lin{n}.model.1.weight": torch.rand(1, count, 1, 1) for n, count in enumerate(channels)}
    torch.save(heads, offline / "weights-vgg16-lpips.pth")
    plain, striped = pictures(0, striped=False, count=6), pictures(0, striped=True, count=6)

    config = MetricConfig(also=("lpips", "precision_recall"), batch_size=4)
    (lpips,) = pair_metrics(config, NOTHING, CPU)
    assert lpips.score(plain, plain) == {"lpips": 0}
    network = load_lpips()
    expected = network(torch.from_numpy(plain), torch.from_numpy(striped)).mean()
    assert lpips.score(plain, striped)["lpips"] == pytest.approx(float(expected), rel=1e-5)

    assert set(lpips.made_with) == {"lpips-vgg16"}
    (precision_recall,) = set_metrics(config, striped, striped, tmp_path, CPU)
    assert set(precision_recall.made_with) == {"vgg16"}
    assert precision_recall.score(striped) == {"precision": 1, "recall": 1}
