"""Labels recovered from photographs: how well a pretrained network finds in them what they were translated from.

The Cityscapes scores of CUT (Park et al., ECCV 2020, table 1), which come from a DRN (Yu et al., CVPR 2017).
"""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export.passes import move_to_device_pass

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.hardware.memory import is_out_of_memory

IGNORED = 255
# Half of a label image's pixels lie far from any edge, where neither JPEG nor a resize moves them by so much.
MOST_LEVELS_AWAY = 20

# In the order of their train ids. Poles in groups and license plates, which are void, have the colours of pole and car.
CLASSES = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
    "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100),
    "train": (0, 80, 100), "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip
VOID = {
    "unlabeled": (0, 0, 0), "dynamic": (111, 74, 0), "ground": (81, 0, 81), "parking": (250, 170, 160),
    "rail track": (230, 150, 140), "guard rail": (180, 165, 180), "bridge": (150, 100, 100), "tunnel": (150, 120, 90),
    "caravan": (0, 0, 90), "trailer": (0, 0, 110),
}  # fmt: skip
PALETTE = (
    *((colour, train_id) for train_id, colour in enumerate(CLASSES.values())),
    *((colour, IGNORED) for colour in VOID.values()),
)


def class_ids(labels: Tensor) -> Tensor:
    """Coloured labels, 8-bit (B, 3, H, W) -> train ids (B, H, W) by nearest colour; IGNORED where that is void.

    Nearest, since the published labels are JPEGs and are resized. Raises UserError for an image that is none of labels.
    """
    colours = torch.tensor([colour for colour, _ in PALETTE], dtype=torch.float32, device=labels.device)
    ids = torch.tensor([train_id for _, train_id in PALETTE], dtype=torch.uint8, device=labels.device)
    # Image by image: the distances to all colours take forty times an image's memory.
    return torch.stack([ids[_nearest(image, colours)] for image in labels])


def _nearest(image: Tensor, colours: Tensor) -> Tensor:
    pixels = image.flatten(1).T.float()
    distances = torch.cdist(pixels, colours, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.min(1)
    if (away := float(nearest.values.median())) > MOST_LEVELS_AWAY:
        raise UserError(
            f"metric.segmentation: an image of A is {away:.0f} levels away from the colours of Cityscapes' labels; A "
            "must hold its coloured label maps"
        )
    return nearest.indices.view(image.shape[1:])


@dataclass(frozen=True)
class Segmenter:
    """The network of the file `path`, and the first 16 hexadecimal digits of that file's SHA-256."""

    path: str
    network: Callable[[Tensor], Tensor]
    device: torch.device
    weights: str

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """8-bit RGB images (B, 3, H, W) -> train ids, 8-bit (B, H, W), on the images' device.

        Raises UserError where the network does not take the batch or does not give logits for it.
        """
        try:
            logits = self.network(images.to(self.device).float() / 255)
        except (AssertionError, RuntimeError) as refusal:  # an exported program's guards; TorchScript
            if is_out_of_memory(refusal):
                raise
            raise UserError(
                f"metric.segmentation={self.path}: does not take images {tuple(images.shape)} ({_last_line(refusal)}); "
                f"save it for RGB of this height and width, with a dynamic batch dimension"
            ) from None
        if found := _amiss(logits, len(images)):
            raise UserError(
                f"metric.segmentation={self.path}: gives {found}, not floating-point logits "
                f"({len(images)}, {len(CLASSES)}, h, w); save a network that gives those, in the order of the train ids"
            )
        if not logits.isfinite().all():
            raise UserError(f"metric.segmentation={self.path}: gives logits that are not finite; save it again")
        logits = F.interpolate(logits.float(), images.shape[2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).to(images.device, torch.uint8)


def _last_line(error: Exception) -> str:
    """Where TorchScript says what is wrong, behind a traceback of its own."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _amiss(logits: object, batch: int) -> str:
    """What a network gave, in words, unless it is logits of a batch of so many images."""
    if not isinstance(logits, Tensor):
        return f"a {type(logits).__name__}"
    if logits.ndim == 4 and logits.shape[:2] == (batch, len(CLASSES)) and logits.is_floating_point():
        return ""
    return f"{str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}"


def load_segmenter(path: str, device: torch.device) -> Segmenter:
    """The user's network from a file: an exported program if that ends in .pt2, else TorchScript, saved in eval mode.

    It takes RGB images in float32 (B, 3, H, W) from 0 to 1, which it normalises itself, and gives logits (B, 19, h, w)
    in the order of the train ids; a program is exported with a dynamic B. Raises UserError where there is no such file.
    """
    if not Path(path).is_file():
        raise UserError(f"metric.segmentation={path}: no such file; give the path of a TorchScript or .pt2 file")
    network = _exported_program(path, device) if Path(path).suffix == ".pt2" else _torch_script(path, device)
    return Segmenter(path, network, device, file_digest(Path(path))[:16])


def _exported_program(path: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    logger = logging.getLogger("torch.export")  # it logs a traceback of what it does not take
    logger.addFilter(_is_error)
    try:
        program = torch.export.load(path)
    except Exception:  # of zip, of JSON, of pickle: many kinds
        raise UserError(
            f"metric.segmentation={path}: torch.export.load does not take it as an exported program; write the whole "
            f"network with torch.export.save, or name TorchScript .pt"
        ) from None
    finally:
        logger.removeFilter(_is_error)
    return move_to_device_pass(program, device).module()


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _torch_script(path: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
            return torch.jit.load(path, map_location=device).eval()
    except Exception as error:
        raise UserError(
            f"metric.segmentation={path}: not TorchScript ({first_line(error)}); write the whole network, not its "
            f"state, with torch.jit.save, or name an exported program .pt2"
        ) from None


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int = len(CLASSES)) -> Tensor:
    """Ids of the same shape -> pixels (C, C) in int64: row the truth, column the prediction, ignored truth left out.

    Matrices of batches add up to the matrix of all.
    """
    labelled = truth != IGNORED
    pairs = truth[labelled].long() * classes + predicted[labelled].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def segmentation_scores(confusion: Tensor) -> dict[str, float]:
    """Pixels (C, C) as confusion_matrix counts them -> 'mAP', 'pixAcc' and 'classAcc' in percent.

    mAP is what DRN's evaluation prints by that name: the mean intersection over union of the classes, without those
    that neither truth nor prediction has. pixAcc: right among labelled pixels. classAcc: the mean recall of the classes
    that the truth has. Raises UserError where no pixel is labelled.
    """
    if not confusion.any():
        raise UserError(
            "metric.segmentation: no pixel of the labels (A) has the colour of a class of Cityscapes; "
            "A must hold its coloured label maps"
        )
    right, true, predicted = confusion.diag().double(), confusion.sum(1), confusion.sum(0)
    return {
        "mAP": 100 * float((right / (true + predicted - right)).nanmean()),
        "pixAcc": 100 * float(right.sum() / true.sum()),
        "classAcc": 100 * float((right / true).nanmean()),
    }
