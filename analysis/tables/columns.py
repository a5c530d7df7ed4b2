"""What a table can show of a trial: its settings under the names of the field, its scores, and what it cost; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.records.schema import Setting, SweepRecord
from analysis.statistics.estimates import SCORES

DASH = "–"


@dataclass(frozen=True)
class Column:
    """A metric as recorded, what a reader calls it, the digits it deserves, and by what it is multiplied."""

    metric: str
    title: str
    digits: int
    factor: float = 1.0

    @property
    def label(self) -> str:
        """The title without the arrow to its better side."""
        return self.title.rstrip(" ↓↑")


# In the table's order; a column without a single value is left out. The arrow points to the better side.
COLUMNS = (
    Column("last/fid", "FID, last ↓", 1),
    Column("best/fid", "FID, best ↓", 1),
    Column("last/fd_small_conv", "FD (small-conv), last ↓", 2),
    Column("best/fd_small_conv", "FD (small-conv), best ↓", 2),
    Column("best/epoch", "epoch of the best", 0),
    Column("last/kid", "KID, last ↓", 4),
    Column("last/kd_small_conv", "KD (small-conv), last ↓", 3),
    Column("last/precision", "precision, last ↑", 3),
    Column("last/recall", "recall, last ↑", 3),
    Column("last/precision_small_conv", "precision (small-conv), last ↑", 3),
    Column("last/recall_small_conv", "recall (small-conv), last ↑", 3),
    Column("last/lpips", "LPIPS to the input, last ↓", 3),
    Column("last/fd_dinov2", "FD (DINOv2), last ↓", 1),
    Column("last/mAP", "mAP, last ↑", 1),
    Column("last/pixAcc", "pixAcc, last ↑", 1),
    Column("last/classAcc", "classAcc, last ↑", 1),
    Column("last/background_change", "background change, levels of 255 ↓", 2),
    Column("cost/seconds_per_iteration", "seconds per iteration ↓", 3),
    Column("cost/training_peak_live_gb", "live tensors in training, peak GB ↓", 3),
    Column("cost/training_peak_allocated_gb", "CUDA allocated in training, peak GB ↓", 2),
    Column("cost/training_peak_reserved_gb", "CUDA reserved in training, peak GB ↓", 2),
    Column("cost/joules_per_1000_iterations", "joules per 1000 iterations ↓", 0),
)
COLUMN_OF = {column.metric: column for column in COLUMNS}

# How the distances are called by themselves.
SCORE_LABELS = {score: COLUMN_OF[f"last/{score}"].label.removesuffix(", last") for score in SCORES}

METHODS = {"cut": "CUT", "fastcut": "FastCUT", "cyclegan": "CycleGAN"}
# Places of the encoder as the paper's Fig. 4 calls them.
LAYERS = {"pixels, down1, down2, res1, res5": "all", "res5": "last"}


def columns_of(values: pd.DataFrame, price_per_hour: float | None) -> list[Column]:
    """The columns that have a value; the last of them, where there is a price, what a trial costs."""
    price = price_per_hour
    priced = [Column("cost/device_hours", f"cost a trial, at {price:g} an hour ↓", 2, price)] if price else []
    return [column for column in (*COLUMNS, *priced) if column.metric in values]


def setting_columns(record: SweepRecord) -> pd.DataFrame:
    """The settings by which the sweep's rows differ: a line a row, a column a setting, first those of the paper's
    Fig. 4 under its names and in its order (Id, Negs, Layers, Int, Ext)."""
    rows = [row.row for row in record.rows]
    settings = pd.DataFrame([dict(row.settings) for row in record.rows], index=rows, dtype=object)
    shown: dict[str, list[str]] = {}
    asked = list(record.axes)
    if "model" in asked:
        shown["method"] = [METHODS.get(str(value), _text(value)) for value in settings["model"]]
    if "model.identity_weight" in asked:
        weights = settings["model.identity_weight"]
        only_on_or_off = set(weights) <= {0, 1}
        shown["Id" if only_on_or_off else "v"] = [
            _yes(weight == 1) if only_on_or_off else _text(weight) for weight in weights
        ]
    if {"model.num_patches", "model.external.num_negatives"} & set(asked):
        shown["Negs"] = [
            _negatives(row.settings) if row.settings.get("model.num_patches") else DASH for row in record.rows
        ]
    if "model.places" in asked:
        shown["Layers"] = [LAYERS.get(str(places), _text(places)) for places in settings["model.places"]]
    if "model.negatives" in asked:
        negatives = list(settings["model.negatives"])
        for source, title in (("internal", "Int"), ("external", "Ext"), ("minibatch", "Batch")):
            if title != "Batch" or any(source in str(of_row) for of_row in negatives):
                shown[title] = [
                    _yes(source in of_row.split(", ")) if isinstance(of_row, str) else DASH for of_row in negatives
                ]
    known = {"model", "model.identity_weight", "model.num_patches", "model.external.num_negatives"}
    known |= {"model.places", "model.negatives"}
    for field in asked:
        if field not in known:
            title = {"model.temperature": "τ", "model.nce_weight": "w"}.get(field, field.removeprefix("model."))
            shown[title] = [_text(value) for value in settings[field]]
    return pd.DataFrame(shown, index=settings.index)


def _negatives(settings: Mapping[str, Setting]) -> str:
    """How many negatives a query has of each source: the other patches of its image (or of all images of its batch),
    and those that are drawn from other images."""
    others = f"{int(settings['model.num_patches'] or 0) - 1}"
    drawn = _text(settings["model.external.num_negatives"])
    counts = {"internal": others, "external": drawn, "minibatch": f"{others} or more"}
    return " + ".join(counts.get(source, DASH) for source in str(settings["model.negatives"]).split(", "))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _text(value: object) -> str:
    """As a person writes it; a dash where the row's method has no such setting."""
    if value is None or value != value:
        return DASH
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
