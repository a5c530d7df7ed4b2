"""Columns of a table: the settings that differ between rows, scores, and costs; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.records.schema import Setting, SweepRecord
from analysis.statistics.estimates import SCORES

DASH = "–"


@dataclass(frozen=True)
class Column:
    """A recorded metric, its title in tables, the digits shown, and the factor that values are multiplied by."""

    metric: str
    title: str
    digits: int
    factor: float = 1.0

    @property
    def label(self) -> str:
        """Return the title without the arrow that points to the better side."""
        return self.title.rstrip(" ↓↑")


# In the table's order. A column without any value is left out. The arrow points to the better side.
COLUMNS = (
    Column("last/fid", "FID, last ↓", 1),
    Column("best/fid", "FID, best ↓", 1),
    Column("last/fd_small_conv", "FD (small-conv), last ↓", 2),
    Column("best/fd_small_conv", "FD (small-conv), best ↓", 2),
    Column("best/epoch", "best epoch", 0),
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
    Column("last/background_change", "background change (0–255) ↓", 2),
    Column("cost/seconds_per_iteration", "seconds per iteration ↓", 3),
    Column("cost/training_peak_live_gb", "peak memory, GB ↓", 3),
    Column("cost/training_peak_allocated_gb", "peak CUDA memory allocated, GB ↓", 2),
    Column("cost/training_peak_reserved_gb", "peak CUDA memory reserved, GB ↓", 2),
    Column("cost/joules_per_1000_iterations", "joules per 1000 iterations ↓", 0),
)
COLUMN_OF = {column.metric: column for column in COLUMNS}

# The names of the distances without 'last' and arrow.
SCORE_LABELS = {score: COLUMN_OF[f"last/{score}"].label.removesuffix(", last") for score in SCORES}

METHODS = {"cut": "CUT", "fastcut": "FastCUT", "cyclegan": "CycleGAN"}
# Names of the paper's Fig. 4 for the layers that PatchNCE uses.
LAYERS = {"pixels, down1, down2, res1, res5": "all", "res5": "last"}
SYMBOLS = {"model.temperature": "τ", "model.nce_weight": "w"}
# Settings that have columns of their own.
FIG_4 = (
    *("model", "model.identity_weight", "model.num_patches", "model.external.num_negatives"),
    *("model.places", "model.negatives"),
)


def columns_of(values: pd.DataFrame, price_per_hour: float | None) -> list[Column]:
    """Return the columns that have a value. The cost per trial is the last, where there is a price."""
    price = price_per_hour
    priced = [Column("cost/device_hours", f"cost per trial ({price:g} per hour) ↓", 2, price)] if price else []
    return [column for column in (*COLUMNS, *priced) if column.metric in values]


def setting_columns(record: SweepRecord) -> pd.DataFrame:
    """Return the settings that differ between the sweep's rows: a line per row, a column per setting.

    First come the settings of the paper's Fig. 4, under its names and in its order (Id, Negs, Layers, Int, Ext).
    """
    rows = [row.row for row in record.rows]
    settings = pd.DataFrame([dict(row.settings) for row in record.rows], index=rows, dtype=object)
    shown: dict[str, list[str]] = {}
    if "model" in record.axes:
        shown["method"] = [METHODS.get(str(value), _text(value)) for value in settings["model"]]
    if "model.identity_weight" in record.axes:
        weights = settings["model.identity_weight"]
        if set(weights) <= {0, 1}:
            shown["Id"] = [_yes(weight == 1) for weight in weights]
        else:
            shown["v"] = [_text(weight) for weight in weights]
    if {"model.num_patches", "model.external.num_negatives"} & set(record.axes):
        shown["Negs"] = [
            _negatives(row.settings) if row.settings.get("model.num_patches") else DASH for row in record.rows
        ]
    if "model.places" in record.axes:
        shown["Layers"] = [LAYERS.get(str(places), _text(places)) for places in settings["model.places"]]
    if "model.negatives" in record.axes:
        sources = [of_row.split(", ") if isinstance(of_row, str) else None for of_row in settings["model.negatives"]]
        for source, title in (("internal", "Int"), ("external", "Ext"), ("minibatch", "Batch")):
            if title != "Batch" or any(source in of_row for of_row in sources if of_row):
                shown[title] = [DASH if of_row is None else _yes(source in of_row) for of_row in sources]
    for field in record.axes:
        if field not in FIG_4:
            title = SYMBOLS.get(field, field.removeprefix("model."))
            shown[title] = [_text(value) for value in settings[field]]
    return pd.DataFrame(shown, index=settings.index)


def _negatives(settings: Mapping[str, Setting]) -> str:
    """Return the number of negatives per query from each source.

    Internal negatives are the other patches of the same image, minibatch negatives those of all images of the batch.
    External negatives are drawn from other images.
    """
    others = f"{int(settings['model.num_patches'] or 0) - 1}"
    external = _text(settings["model.external.num_negatives"])
    counts = {"internal": others, "external": external, "minibatch": f"{others} or more"}
    return " + ".join(counts.get(source, DASH) for source in str(settings["model.negatives"]).split(", "))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _text(value: object) -> str:
    """Return the value as text, or a dash where the row's method has no such setting."""
    if value is None or value != value:
        return DASH
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
