import hashlib
import itertools
import logging
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.metrics.segmentation import (
    CLASSES,
    IGNORED,
    PALETTE,
    VOID,
    Segmenter,
    class_ids,
    confusion_matrix,
    load_segmenter,
    segmentation_scores,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


class ByColour(nn.Module):
    """Logits that are greatest for the class whose colour is nearest: right about a coloured label by construction."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("colours", torch.tensor(list(CLASSES.values())).float()[:, :, None, None] / 255)

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.avg_pool2d(images, self.stride)
        return -(pooled[:, None] - self.colours).square().sum(2)


class Gives(nn.Module):
    """The same logits for each image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[None].repeat(images.shape[0], *[1] * self.logits.ndim)


class GivesTwo(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def save_script(network: nn.Module, path: Path) -> str:
    torch.jit.trace(network.eval(), torch.rand(2, 3, 8, 16), check_trace=False).save(str(path))
    return str(path)


def save_exported(network: nn.Module, path: Path, *, any_batch: bool = True) -> str:
    dynamic = ({0: torch.export.Dim.DYNAMIC},) if any_batch else None
    program = torch.export.export(network.eval(), (torch.rand(2, 3, 8, 16),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    return str(path)


def truths(count: int, seed: int = 0, size: tuple[int, int] = (8, 16)) -> Tensor:
    return torch.randint(
        0, len(CLASSES), (count, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def painted(ids: Tensor) -> Tensor:
    """The coloured label images (B, 3, H, W) of train ids."""
    colours = torch.tensor(list(CLASSES.values()), dtype=torch.uint8)
    return colours[ids.long()].permute(0, 3, 1, 2).contiguous()


def in_one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("colour", "train_id"), PALETTE)
def test_every_colour_has_its_id_also_with_the_noise_of_jpeg(colour, train_id) -> None:
    noise = torch.tensor(list(itertools.product((-4, 0, 4), repeat=3)))
    noisy = (torch.tensor(colour) + noise).clamp(0, 255).to(torch.uint8)
    assert class_ids(noisy.T.reshape(1, 3, 3, 9)).unique().tolist() == [train_id]


def test_train_ids_are_those_of_cityscapes() -> None:
    ids = {name: PALETTE[place][1] for place, name in enumerate([*CLASSES, *VOID])}
    assert len(set(CLASSES.values()) | set(VOID.values())) == len(PALETTE) == 29
    assert (ids["road"], ids["vegetation"], ids["car"], ids["bicycle"]) == (0, 8, 13, 18)
    assert {ids[name] for name in VOID} == {IGNORED}


def test_ids_stand_where_the_colours_stood() -> None:
    ids = truths(3)
    assert class_ids(painted(ids)).dtype == torch.uint8
    assert torch.equal(class_ids(painted(ids)), ids)


def test_scripted_and_exported_network_give_the_ids_of_the_eager_one(tmp_path) -> None:
    ids = truths(3)
    photographs = torch.randint(0, 256, (3, 3, 8, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    eager = ByColour()(photographs / 255).argmax(1).to(torch.uint8)
    for path in (save_script(ByColour(), tmp_path / "net.pt"), save_exported(ByColour(), tmp_path / "net.pt2")):
        segmenter = load_segmenter(path, CPU)
        assert torch.equal(segmenter.predict(painted(ids)), ids)
        assert torch.equal(segmenter.predict(photographs), eager)
        assert torch.equal(segmenter.predict(photographs[:1]), eager[:1])


def test_coarse_logits_are_brought_to_the_size_of_the_images() -> None:
    """Of a wide image cut in two, class 0 falls from 1 to 0 between the halves' centres and meets class 1 at 0.8."""
    logits = torch.full((1, len(CLASSES), 1, 2), -1.0)
    logits[0, 0, 0], logits[0, 1, 0] = torch.tensor([1.0, 0.0]), torch.tensor([0.2, 0.2])
    segmenter = Segmenter("net.pt", lambda images: logits, CPU, "")
    # Pixel centres are at -3/8, -1/8, 1/8 ... 11/8 of the way from centre to centre.
    assert segmenter.predict(torch.zeros(1, 3, 2, 8, dtype=torch.uint8)).tolist() == [[[0] * 5 + [1] * 3] * 2]


def test_a_network_of_coarse_logits_finds_coarse_labels(tmp_path) -> None:
    ids = truths(2, size=(1, 2)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    segmenter = load_segmenter(save_script(ByColour(stride=8), tmp_path / "coarse.pt"), CPU)
    found = segmenter.predict(painted(ids))
    assert found.shape == ids.shape
    assert torch.equal(found[..., [0, -1]], ids[..., [0, -1]])


def test_a_network_is_known_by_the_content_of_its_file(tmp_path) -> None:
    path = save_script(ByColour(), tmp_path / "net.pt")
    assert load_segmenter(path, CPU).weights == hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def test_loading_says_nothing_and_leaves_later_warnings_be(tmp_path, caplog) -> None:
    logger = logging.getLogger("torch.export")
    path = save_script(ByColour(), tmp_path / "net.pt")
    torch.save({}, tmp_path / "state.pt2")
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_segmenter(path, CPU)
            with pytest.raises(UserError):
                load_segmenter(str(tmp_path / "state.pt2"), CPU)
            assert not caplog.records
            with pytest.raises(FutureWarning):
                torch.jit.load(path)
        logger.warning("heard")
        assert "heard" in caplog.messages
    finally:
        logger.removeHandler(caplog.handler)


def test_an_absent_network_is_named(tmp_path) -> None:
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(UserError) as error:
            load_segmenter(str(path), CPU)
        assert f"metric.segmentation={path}: no such file" in in_one_line(error)


@pytest.mark.parametrize("kind", ["state", "torn", "text", "other"])
@pytest.mark.parametrize(("suffix", "mend"), [(".pt", "torch.jit.save"), (".pt2", "torch.export.save")])
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path, kind, suffix, mend) -> None:
    path = tmp_path / f"{kind}{suffix}"
    save, save_other = (save_script, save_exported) if suffix == ".pt" else (save_exported, save_script)
    match kind:
        case "state":
            torch.save(ByColour().state_dict(), path)
        case "torn":
            save(ByColour(), path)
            path.write_bytes(path.read_bytes()[:-300])
        case "text":
            path.write_text("not a network")
        case "other":
            save_other(ByColour(), tmp_path / f"other{'.pt2' if suffix == '.pt' else '.pt'}")
            next(tmp_path.iterdir()).rename(path)
    with pytest.raises(UserError) as error:
        load_segmenter(str(path), CPU)
    assert f"metric.segmentation={path}: " in in_one_line(error)
    assert mend in str(error.value)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (Gives(torch.zeros(18, 2, 4)), "float32 (3, 18, 2, 4)"),
        (Gives(torch.zeros(19)), "float32 (3, 19)"),
        (Gives(torch.zeros(19, 2, 4, dtype=torch.int64)), "int64 (3, 19, 2, 4)"),
        (GivesTwo(), "a tuple"),
    ],
)
def test_a_network_without_logits_of_19_classes_is_refused_with_what_it_gives(tmp_path, network, found) -> None:
    path = save_script(network, tmp_path / "net.pt")
    with pytest.raises(UserError) as error:
        load_segmenter(path, CPU).predict(painted(truths(3)))
    assert f"metric.segmentation={path}: gives {found}, not floating-point logits (3, 19, h, w)" in in_one_line(error)


def test_a_program_exported_for_one_batch_size_needs_a_dynamic_one(tmp_path) -> None:
    segmenter = load_segmenter(save_exported(ByColour(), tmp_path / "net.pt2", any_batch=False), CPU)
    assert torch.equal(segmenter.predict(painted(truths(2))), truths(2))
    with pytest.raises(UserError, match=r"net\.pt2: does not take images \(3, 3, 8, 16\)") as error:
        segmenter.predict(painted(truths(3)))
    assert "dynamic batch dimension" in in_one_line(error)


def test_a_script_that_does_not_take_the_images_is_refused_with_their_shape(tmp_path) -> None:
    path = save_script(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 16, 19)), tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"net\.pt: does not take images \(2, 3, 16, 16\) \(.*mat1") as error:
        load_segmenter(path, CPU).predict(painted(truths(2, size=(16, 16))))
    in_one_line(error)


def test_logits_that_are_not_finite_are_refused(tmp_path) -> None:
    path = save_script(Gives(torch.full((len(CLASSES), 2, 2), torch.nan)), tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"net\.pt: gives logits that are not finite"):
        load_segmenter(path, CPU).predict(painted(truths(2)))


def test_pictures_far_from_the_palette_are_no_labels() -> None:
    photograph = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"levels away from the colours of Cityscapes' labels"):
        class_ids(photograph)


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    truth, predicted = torch.tensor([[0, 0, 1], [2, 2, 2]]), torch.tensor([[0, 1, 1], [0, 0, 2]])
    assert confusion_matrix(truth, predicted, classes=3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]


def test_ignored_pixels_do_not_count() -> None:
    truth, predicted = truths(2), truths(2, seed=1)
    truth[:, :3] = IGNORED
    counted = confusion_matrix(truth, predicted)
    assert counted.sum() == truth[:, 3:].numel()
    assert torch.equal(counted, confusion_matrix(truth[:, 3:], predicted[:, 3:]))


def test_matrices_of_batches_add_up_to_the_matrix_of_all() -> None:
    truth, predicted = truths(7), truths(7, seed=1)
    batches = [confusion_matrix(truth[first : first + 3], predicted[first : first + 3]) for first in (0, 3, 6)]
    assert torch.equal(torch.stack(batches).sum(0), confusion_matrix(truth, predicted))


def test_a_perfect_prediction_scores_100() -> None:
    scores = segmentation_scores(confusion_matrix(truths(2), truths(2)))
    assert scores == {"mAP": 100.0, "pixAcc": 100.0, "classAcc": 100.0}


def test_scores_are_those_computed_by_hand() -> None:
    """Class 2 is predicted though never true: it counts in mAP alone. Class 3 is neither: it counts nowhere."""
    confusion = torch.tensor([[6, 2, 0, 0], [1, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = segmentation_scores(confusion)
    assert scores["mAP"] == pytest.approx(100 * (6 / 9 + 2 / 6 + 0 / 1) / 3)
    assert scores["pixAcc"] == pytest.approx(100 * 8 / 12)
    assert scores["classAcc"] == pytest.approx(100 * (6 / 8 + 2 / 4) / 2)


def test_labels_without_a_class_are_said_to_be_none() -> None:
    truth = class_ids(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(UserError, match="coloured label maps") as error:
        segmentation_scores(confusion_matrix(truth, truths(1, size=(4, 4))))
    assert "metric.segmentation" in in_one_line(error)
