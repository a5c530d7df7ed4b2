"""What a sweep's trials were trained with: all settings, those that differ between rows, and the main ones; pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.records.names import Tag
from analysis.records.schema import SweepRecord
from analysis.tables.columns import DASH

Pairs = tuple[tuple[str, str], ...]


def row_settings(record: SweepRecord) -> Mapping[str, Mapping[str, str]]:
    """Return each row's settings by their names: what its trials recorded, else what the sweep recorded of the row."""
    found: dict[str, dict[str, str]] = {}
    for row in record.rows:
        trials = [record.details[key].parameters for key in row.keys.values() if key in record.details]
        merged = {name: str(value) for name, value in row.settings.items() if value is not None}
        for parameters in trials:
            merged |= parameters
        found[row.row] = {name: text for name, text in merged.items() if name != "seed" and text != "None"}
    return found


def shared_settings(settings: Mapping[str, Mapping[str, str]]) -> Pairs:
    """Return name and value of every setting that all rows share."""
    return tuple((name, _values(settings, name)[0]) for name in _names(settings) if _is_shared(settings, name))


def differing_settings(settings: Mapping[str, Mapping[str, str]], first: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return a table of the settings that differ: a head of names, then a line for each row. Empty if none differ.

    first: names that come first, such as the fields that the rows set.
    """
    names = [name for name in dict.fromkeys((*first, *_names(settings))) if not _is_shared(settings, name)]
    lines = [(row, *(of_row.get(name, DASH) for name in names)) for row, of_row in settings.items()]
    return (("row", *names), *lines) if names else ()


def main_settings(record: SweepRecord) -> Mapping[str, str]:
    """Return what a reader asks first, under the names of the field; values of different rows are joined by ' / '."""
    settings = row_settings(record)
    tags = {row.row: next((trial for trial in record.finished if trial["row"] == row.row), {}) for row in record.rows}
    of_rows = [_main_settings(of_row, tags[row]) for row, of_row in settings.items()]
    names = dict.fromkeys(name for of_row in of_rows for name in of_row)
    return {name: _joined(of_row.get(name, "") for of_row in of_rows) for name in names}


def _main_settings(of_row: Mapping[str, str], tags: Mapping[Any, Any]) -> dict[str, str]:
    """Return a row's main settings. Those that are not recorded are left out."""
    size, load_size = (_size(of_row.get(name, "")) for name in ("data.size", "data.load_size"))
    count = of_row.get("data.train_count", "")
    training = [tags.get(Tag.TRAIN_A) or count, tags.get(Tag.TRAIN_B) or count]
    constant, decay = of_row.get("train.constant_epochs", ""), of_row.get("train.decay_epochs", "")
    betas = [of_row.get(f"train.beta{number}", "") for number in (1, 2)]
    crop = f"random crops of {size} from {load_size}; from the first decay epoch on, resized to {size}"
    shrink = of_row.get("data.largest_shrink", "")
    if shrink:
        crop = f"cells of {size}, after a random zoom from 1/{float(shrink):g} to 1"
    texts = {
        "learning rate": of_row.get("train.learning_rate", ""),
        "epochs": _if_all("{} constant + {} decay", constant, decay),
        "batch size": of_row.get("train.batch_size", ""),
        "optimiser": _if_all("Adam (β1 = {}, β2 = {})", *betas),
        "training images (A, B)": _if_all("{}, {}", *training),
        "test images (A, B)": _if_all("{}, {}", tags.get(Tag.IMAGES_A, ""), tags.get(Tag.IMAGES_B, "")),
        "image size": size,
        # Every version of the code so far flips, and crops what it loads larger.
        "crop": (crop if shrink or (load_size and load_size != size) else "none") if size else "",
        "flip": "horizontal, with probability 0.5" if size else "",
    }
    return {name: text for name, text in texts.items() if text}


def _if_all(form: str, *parts: str) -> str:
    return form.format(*parts) if all(parts) else ""


def _size(text: str) -> str:
    return text.replace(", ", " x ")


def _joined(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(text for text in texts if text))


def _names(settings: Mapping[str, Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for of_row in settings.values() for name in of_row))


def _values(settings: Mapping[str, Mapping[str, str]], name: str) -> list[str]:
    return list(dict.fromkeys(of_row.get(name, DASH) for of_row in settings.values()))


def _is_shared(settings: Mapping[str, Mapping[str, str]], name: str) -> bool:
    return len(_values(settings, name)) == 1
