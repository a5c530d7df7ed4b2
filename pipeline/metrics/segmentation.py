"""Score photographs by how well a pretrained segmentation network recovers the labels from which they were translated.

These are the Cityscapes scores of CUT (Park et al., ECCV 2020, table 1). There the network is a DRN (Yu et
al., CVPR 2017).
"""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.hardware.memory import is_out_of_memory
from pipeline.metrics.harmless import require_plain_program, require_plain_script, weights_only

IGNORED = 255
# At least half of a label image's pixels are far from any edge. JPEG or resizing changes them by less than this.
MOST_LEVELS_AWAY = 20

# In the order of the train ids. Groups of poles and license plates are void, but have the colours of pole and car.
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
    """Turn coloured labels, 8-bit (B, 3, H, W), into train ids (B, H, W) by the nearest colour; IGNORED for void.

    The published labels are resized JPEGs, so colours are not exact. Raises UserError if an image is no label map.
    """
    colours = torch.tensor([colour for colour, _ in PALETTE], dtype=torch.float32, device=labels.device)
    ids = torch.tensor([train_id for _, train_id in PALETTE], dtype=torch.uint8, device=labels.device)
    found: list[Tensor] = []
    # One image at a time, since the distances to all colours take forty times the memory of an image.
    for image in labels:
        pixels = image.flatten(1).T.float()
        nearest = torch.cdist(pixels, colours, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        if (away := float(nearest.values.median())) > MOST_LEVELS_AWAY:
            raise UserError(
                f"metric.segmentation: an image of A is {away:.0f} levels away from the colours of Cityscapes' labels; "
                "A must hold its coloured label maps"
            )
        found.append(ids[nearest.indices.view(image.shape[1:])])
    return torch.stack(found)


def are_objects(ids: Tensor) -> Tensor:
    """Return where train ids (B, H, W) are of a class whose objects Cityscapes counts, from person to bicycle."""
    return (ids >= list(CLASSES).index("person")) & (ids != IGNORED)


@dataclass(frozen=True)
class Segmenter:
    """The network of the file `path`. weights: the first 16 hexadecimal digits of the file's SHA-256."""

    path: str
    network: Callable[[Tensor], Tensor]
    device: torch.device
    weights: str

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Turn 8-bit RGB images (B, 3, H, W) into train ids, 8-bit (B, H, W), on the images' device.

        Raises UserError if the network refuses the batch or does not return logits.
        """
        try:
            logits = self.network(images.to(self.device).float() / 255)
        except (AssertionError, RuntimeError) as refusal:  # an exported program's guards; TorchScript
            if is_out_of_memory(refusal):
                raise
            # TorchScript's message follows its own traceback.
            said = (str(refusal).strip() or type(refusal).__name__).splitlines()[-1]
            raise UserError(
                f"metric.segmentation={self.path}: does not take images {tuple(images.shape)} ({said}); "
                f"save it for RGB of this height and width, with a dynamic batch dimension"
            ) from None
        found, is_logits = f"a {type(logits).__name__}", False
        if isinstance(logits, Tensor):
            found = f"{str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}"
            is_logits = logits.ndim == 4 and logits.is_floating_point()
            is_logits = is_logits and logits.shape[:2] == (len(images), len(CLASSES))
        if not is_logits:
            raise UserError(
                f"metric.segmentation={self.path}: gives {found}, not floating-point logits "
                f"({len(images)}, {len(CLASSES)}, h, w); save a network that gives those, in the order of the train ids"
            )
        if not logits.isfinite().all():
            raise UserError(f"metric.segmentation={self.path}: gives logits that are not finite; save it again")
        logits = F.interpolate(logits.float(), images.shape[2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).to(images.device, torch.uint8)


def load_segmenter(path: str, device: torch.device) -> Segmenter:
    """Load the user's network: an exported program from a .pt2 file, else TorchScript, both saved in eval mode.

    The network takes RGB images in float32 (B, 3, H, W) from 0 to 1 and normalises them itself. It returns logits
    (B, 19, h, w) in the order of the train ids. A program is exported with a dynamic B. Raises UserError if there is no
    such file.
    """
    if not Path(path).is_file():
        raise UserError(f"metric.segmentation={path}: no such file. Give the path of a TorchScript or .pt2 file")
    exported = Path(path).suffix == ".pt2"
    logging.disable(logging.WARNING)  # torch.export logs a traceback for a file that it cannot read
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
            (require_plain_program if exported else require_plain_script)(Path(path))
            with weights_only():
                saved = torch.export.load(path) if exported else torch.jit.load(path, map_location=device)
    except Exception as error:  # zip, JSON, pickle and TorchScript raise many kinds
        kind, save = ("an exported program", "torch.export") if exported else ("TorchScript", "torch.jit")
        raise UserError(
            f"metric.segmentation={path}: not {kind} ({first_line(error)}); write the whole network, not its state, "
            f"with {save}.save, and name TorchScript .pt, an exported program .pt2"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    network = move_to_device_pass(saved, device).module() if isinstance(saved, ExportedProgram) else saved.eval()
    return Segmenter(path, network, device, file_digest(Path(path))[:16])


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int = len(CLASSES)) -> Tensor:
    """Count pixels (C, C) in int64: row the truth, column the prediction. Pixels with ignored truth are left out.

    The matrices of batches add up to the matrix of all images.
    """
    labelled = truth != IGNORED
    pairs = truth[labelled].long() * classes + predicted[labelled].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def segmentation_scores(confusion: Tensor) -> dict[str, float]:
    """Return 'mAP', 'pixAcc' and 'classAcc' in percent, from a confusion matrix (C, C).

    mAP is the value with that name in DRN's evaluation: the mean intersection over union of the classes, without
    classes that appear in neither truth nor prediction. pixAcc: the fraction of labelled pixels that are right.
    classAcc: the mean recall of the classes in the truth. Raises UserError if no pixel is labelled.
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
