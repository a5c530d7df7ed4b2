"""What a table can show of a trial: its settings under the names of the field, its scores, and what it cost; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.records.names import DEVICE_HOURS, cost_metric, last_metric, metric_of, shown_metrics
from analysis.records.schema import RecordsError, Setting, SweepRecord

DASH = "–"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    metric: the recorded name. title: the header, with an arrow that points to the better side. digits: behind the
    decimal point. factor: values are multiplied by it.
    """

    metric: str
    title: str
    digits: int
    factor: float = 1.0

    @property
    def label(self) -> str:
        """Return the title without the arrow."""
        return self.title.rstrip(" ↓↑")


METHODS = {"cut": "CUT", "fastcut": "FastCUT", "cyclegan": "CycleGAN", "sincut": "SinCUT", "dclgan": "DCLGAN"}
# Names of the paper's Fig. 4 for the layers that PatchNCE uses.
LAYERS = {"pixels, down1, down2, res1, res5": "all", "res5": "last"}
# Sources of negatives, under the names of Fig. 4 where they stand there.
SOURCES = {
    "internal": "Int", "external": "Ext", "minibatch": "Batch", "generated": "Gen", "other_domain": "Other"
}  # fmt: skip
# They have a column in every table of negatives.
ALWAYS_SHOWN = ("Int", "Ext")
SYMBOLS = {"model.temperature": "τ", "model.nce_weight": "w"}
# Settings that have columns of their own.
FIG_4 = (
    "model", "model.identity_weight", "model.num_patches", "model.external.num_negatives",
    "model.places", "model.negatives",
)  # fmt: skip


def columns_of(values: pd.DataFrame, price_per_hour: float | None) -> list[Column]:
    """Return the columns of the metrics that have a value. With a price, the last column is the cost of a trial."""
    columns = [column_of(metric) for metric in shown_metrics()]
    if price_per_hour:
        columns.append(Column(DEVICE_HOURS, f"cost per trial ({price_per_hour:g} per hour) ↓", 2, price_per_hour))
    return [column for column in columns if column.metric in values]


def named_columns(names: Sequence[str], cells: pd.DataFrame) -> list[str]:
    """Return the titles of columns by their metrics' names: 'kid', 'best/fid', 'seconds_per_iteration'.

    Raises RecordsError for a name of which the table has no column.
    """
    shown = {metric: column_of(metric).title for metric in shown_metrics() if column_of(metric).title in cells}
    known = {metric.removeprefix(last_metric("")).removeprefix(cost_metric("")): shown[metric] for metric in shown}
    if unknown := [name for name in names if name not in known]:
        raise RecordsError(f"The table has no column {unknown[0]!r}. It has: {', '.join(known)}.")
    return [known[name] for name in names]


def column_of(recorded: str) -> Column:
    """Return the column of a recorded metric such as 'last/fid'."""
    metric = metric_of(recorded)
    return Column(recorded, metric.header(recorded.partition("/")[0]), metric.digits)


def setting_columns(record: SweepRecord) -> pd.DataFrame:
    """Return the settings that differ between the sweep's rows: a line per row, a column per setting.

    First come the settings of the paper's Fig. 4, under its names and in its order (Id, Negs, Layers, Int, Ext).
    """
    rows = [row.row for row in record.rows]
    settings = pd.DataFrame([dict(row.settings) for row in record.rows], index=rows, dtype=object)
    shown: dict[str, list[str]] = {}
    if "model" in record.axes:
        shown["method"] = [METHODS.get(str(value), setting_text(value)) for value in settings["model"]]
    if "model.identity_weight" in record.axes:
        weights = settings["model.identity_weight"]
        if set(weights) <= {0, 1}:
            shown["Id"] = [_yes(weight == 1) for weight in weights]
        else:
            shown["v"] = [setting_text(weight) for weight in weights]
    if {"model.num_patches", "model.external.num_negatives"} & set(record.axes):
        shown["Negs"] = [
            _negatives(row.settings) if row.settings.get("model.num_patches") else DASH for row in record.rows
        ]
    if "model.places" in record.axes:
        shown["Layers"] = [LAYERS.get(str(places), setting_text(places)) for places in settings["model.places"]]
    if "model.negatives" in record.axes:
        sources = [of_row.split(", ") if isinstance(of_row, str) else None for of_row in settings["model.negatives"]]
        for source, title in SOURCES.items():
            if title in ALWAYS_SHOWN or any(source in of_row for of_row in sources if of_row):
                shown[title] = [DASH if of_row is None else _yes(source in of_row) for of_row in sources]
        own = [", ".join(source for source in of_row or () if source not in SOURCES) for of_row in sources]
        if any(own):
            shown["own negatives"] = [names or DASH for names in own]
    for field in record.axes:
        if field not in FIG_4:
            title = SYMBOLS.get(field, field.removeprefix("model."))
            shown[title] = [setting_text(value) for value in settings[field]]
    return pd.DataFrame(shown, index=settings.index)


def _negatives(settings: Mapping[str, Setting]) -> str:
    """Return the number of negatives per query from each source.

    Internal negatives are the other patches of the same image, minibatch negatives those of all images of the batch.
    External negatives are drawn from other images. SinCUT has no such choice: all patches of a batch are negatives of
    each other, and a sweep does not record how many crops a batch has.
    """
    if "model.negatives" not in settings:
        return f"{settings['model.num_patches']} x batch − 1"
    others = f"{int(settings['model.num_patches'] or 0) - 1}"
    counts = {
        "internal": others,
        "external": setting_text(settings.get("model.external.num_negatives")),
        "minibatch": f"{others} or more",
        "generated": setting_text(settings.get("model.generated.num_negatives")),
        "other_domain": setting_text(settings["model.num_patches"]),
    }
    return " + ".join(counts.get(source, DASH) for source in str(settings.get("model.negatives")).split(", "))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def setting_text(value: object) -> str:
    """Return the value as text, or a dash where the row's method has no such setting."""
    if value is None or value != value:
        return DASH
    if isinstance(value, bool):
        return _yes(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
