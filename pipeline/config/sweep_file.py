"""Read and check a sweep file, and list its trials.

name: ablation_negatives
question: one sentence
base: [model=cut]
seeds: [0, 1, 2]
rows:
  - {row: internal, set: {model.negatives: [internal]}, paper: "Fig. 4: CUT (default)"}
default: internal    # the row with which the others are compared; by default the first

A search adds sampled rows (`pipeline.config.search_space`):
search: {samples: 16, space: {model.temperature: {loguniform: [0.01, 0.5]}}}
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.config.compose import COMMAND_LINE, Setting, compose_settings, parse_setting, take_options
from pipeline.config.fields import LONGEST_NAME, LONGEST_TEXT, MOST_SETTINGS
from pipeline.config.plain_yaml import read_plain_yaml
from pipeline.config.schema import Config, violations
from pipeline.config.search_space import Distribution, Halving, Sample, Search, random_samples
from pipeline.config.text_file import refuse_control_characters
from pipeline.config.trial_key import trial_key
from pipeline.errors import UserError, brief, nearest

SWEEPS = Path("sweeps")
# A larger sweep is most likely a mistake, since each trial takes minutes.
MOST_ROWS = MOST_SEEDS = 1000
MOST_TRIALS = 10_000
# A table compares rows on the same data, scored in the same way, from one store.
OF_ALL_ROWS = ("task", "data", "metric", "compute", "tracking", "paths")
# A row may ask for a kind of GPU.
OF_A_ROW = ("compute.gpu",)
# The names of a search's rows are this and a number.
SAMPLE = "sample "

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Label = Annotated[str, Field(max_length=LONGEST_NAME)]


@dataclass(frozen=True)
class Row:
    """One row of the table: its name, its settings, and where the paper has the same row."""

    row: Label
    set: Annotated[dict[str, Any], Field(max_length=MOST_SETTINGS)]
    paper: Text = ""


@dataclass(frozen=True)
class Sweep:
    """Rows and seeds; each row is trained with each seed. base: overrides for all rows.

    default: the row with which the others are compared; '' is the first. place: the file, as errors name it.
    """

    # Holds for the classes inside, too.
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Label
    question: Text
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    base: Annotated[tuple[str, ...], Field(max_length=MOST_SETTINGS)] = ()
    default: str = ""
    search: Search | None = None
    place: str = COMMAND_LINE

    def with_rows(self, *rows: Row) -> "Sweep":
        """Return the sweep with more rows after its own."""
        return replace(self, rows=(*self.rows, *rows))


@dataclass(frozen=True)
class Trial:
    """One row with one seed, and its settings."""

    row: str
    seed: int
    config: Config


def sampled_row(number: int, sample: Sample) -> Row:
    """Return the row of a search's sample."""
    return Row(f"{SAMPLE}{number}", sample)


def load_sweep(name: str) -> Sweep:
    """Read the sweep of that name in sweeps/, or of the file at that path. Raises UserError for a faulty file."""
    refuse_control_characters(name, COMMAND_LINE)
    is_path = name.endswith((".yaml", ".yml")) or "/" in name
    path = Path(name) if is_path else SWEEPS / f"{name}.yaml"
    if path.exists():
        return read_sweep(path)
    if is_path:
        raise UserError(f"{name}: no such file. Give a sweep's name, or the path of its file")
    known = [file.stem for file in SWEEPS.glob("*.yaml")]
    if not known:
        raise UserError(f"{SWEEPS.absolute()}: no sweeps here. Run in the project's folder, or give a file's path")
    raise UserError(f"{SWEEPS}/: no sweep is called {name!r}; {nearest(name, known)}")


def read_sweep(path: Path) -> Sweep:
    """Read the sweep in a file and check everything except the settings of its rows, which `expand` checks."""
    return check_sweep(read_plain_yaml(path), path)


def check_sweep(content: Any, path: Path) -> Sweep:
    """Return the sweep that the content of a file describes, checked as `read_sweep` does."""
    sweep = replace(_validated(content, path), place=str(path))
    _refuse_unusable(sweep, path)
    if sweep.search and sweep.search.sampler == "random":
        return sweep.with_rows(
            *(sampled_row(number, drawn) for number, drawn in enumerate(random_samples(sweep.search)))
        )
    return sweep


def with_seeds(sweep: Sweep, overrides: Sequence[str]) -> tuple[Sweep, list[str]]:
    """Apply seeds=[…] of the command line to the sweep, and return the other overrides."""
    seeds, others = chosen_seeds(overrides)
    return (sweep if seeds is None else replace(sweep, seeds=seeds)), others


def chosen_seeds(overrides: Sequence[str]) -> tuple[tuple[int, ...] | None, list[str]]:
    """Return seeds=[…] of the command line, None if it has none, and the other overrides."""
    values, others = take_options(overrides, ["seeds"])
    if not values:
        return None, others
    seeds = values["seeds"]
    if not (isinstance(seeds, list) and all(type(seed) is int for seed in seeds)):
        raise UserError(
            f"{COMMAND_LINE}: seeds is {brief(seeds)}. It must be a list of whole numbers, as in seeds=[0,1,2]"
        )
    _refuse_seeds(seeds, COMMAND_LINE)
    return tuple(seeds), others


def retries_failed(overrides: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether the command line contains retry=failed, and the other overrides."""
    values, others = take_options(overrides, ["retry"])
    if values and values["retry"] != "failed":
        raise UserError(
            f"{COMMAND_LINE}: retry is {brief(values['retry'])}. Only failed trials can be retried: retry=failed"
        )
    return bool(values), others


def expand(sweep: Sweep, overrides: Sequence[str]) -> list[Trial]:
    """Return every trial in the order of seeds, then of rows, so that each row has its first seed early.

    Overrides apply to all rows. Raises UserError for an override of a field that a row sets, for a row that sets what
    all rows share, for several seeds of a search, and for two rows that are the same trial.
    """
    _refuse_seeds(sweep.seeds, sweep.place)
    if len(sweep.rows) * len(sweep.seeds) > MOST_TRIALS:
        raise UserError(
            f"{sweep.place}: {len(sweep.rows)} rows and {len(sweep.seeds)} seeds are "
            f"{len(sweep.rows) * len(sweep.seeds)} trials. A sweep has at most {MOST_TRIALS}"
        )
    if sweep.search and len(sweep.seeds) > 1:
        raise UserError(
            f"{sweep.place}: a search has one seed. Promote its best samples and train them with several seeds"
        )
    shared = [parse_setting(text, f"{sweep.place}, base") for text in sweep.base]
    shared += [parse_setting(text, COMMAND_LINE) for text in overrides]
    composed: dict[str, Config] = {}
    faulty: dict[str, list[str]] = {}
    for row in sweep.rows:
        place = f"{sweep.place}, row {row.row!r}"
        own = [Setting(name, value, place) for name, value in row.set.items()]
        try:
            for setting in (*shared, *own):
                _refuse_setting(setting, row, sweep)
            composed[row.row] = compose_settings([*shared, *own])
        except UserError as error:
            for fault in error.faults:
                # What is allowed can differ between rows, and stands behind the semicolon.
                faulty.setdefault(fault.removeprefix(place).split("; ")[0], []).append(fault)
    if faulty:
        raise UserError(*(_of_rows(found) for found in faulty.values()))
    first_with: dict[str, str] = {}
    for name, config in composed.items():
        twin = first_with.setdefault(trial_key(config, data="", weights=""), name)
        if twin != name:
            raise UserError(f"{sweep.place}: rows {twin!r} and {name!r} are the same trial. Change or remove one")
    return [Trial(name, seed, replace(config, seed=seed)) for seed in sweep.seeds for name, config in composed.items()]


def _of_rows(found: Sequence[str]) -> str:
    """Return one line for a fault that several rows have, each under its name. One of the command line is the same."""
    more = len(set(found)) - 1
    return f"{found[0]} (and so in {more} more row{'s' if more > 1 else ''})" if more else found[0]


def _refuse_setting(setting: Setting, row: Row, sweep: Sweep) -> None:
    """Raise UserError for what can be set elsewhere, but not there."""
    name, source = setting.name, setting.source
    if name == "seed":
        raise UserError(f"{source}: sets seed. A sweep needs seeds: [0, 1, 2], or seeds=[0,1,2]")
    if name in row.set and source == COMMAND_LINE:
        raise UserError(
            f"{COMMAND_LINE}: {name} would override row {row.row!r} of sweep {sweep.name}. "
            f"Change the row in {sweep.place}, or override another field"
        )
    if name in row.set and name.split(".")[0] in OF_ALL_ROWS and name not in OF_A_ROW:
        raise UserError(
            f"{source}: sets {brief(name)}, which all rows of a table share. Set it for the whole sweep, in base or on "
            f"the command line, as in {name[:LONGEST_NAME]}=…"
        )
    if isinstance(setting.value, dict):
        raise UserError(f"{source}: {name[:LONGEST_NAME]} is a dict. Set single fields, as in model.temperature: 0.1")


def _validated(content: Any, path: Path) -> Sweep:
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a mapping. A sweep is a mapping with name, question, seeds and rows")
    if "place" in content:
        raise _unknown_key(path, [], "place")
    try:
        # As JSON, since strict JSON takes a list for a tuple, but neither 2.0 nor "2" for 2.
        return TypeAdapter(Sweep).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        for details in error.errors():
            # First, since a misspelt key explains a missing one.
            if details["type"] == "unexpected_keyword_argument":
                *around, key = details["loc"]
                raise _unknown_key(path, around, key) from None
        raise UserError(*(f"{path}: {fault}" for _, fault in violations(error))) from None


def _unknown_key(path: Path, around: Sequence[int | str], key: int | str) -> UserError:
    place = f"{path}, {'.'.join(map(str, around))}" if around else f"{path}"
    inside = next((name for name in reversed(around) if isinstance(name, str)), "")
    found = {"": Sweep, "rows": Row, "search": Search, "halving": Halving}.get(inside, Distribution)
    known = [name for name in found.__dataclass_fields__ if name != "place"]
    return UserError(f"{place}: no key is called {brief(key)}; {nearest(str(key), known)}")


def require_name(name: str, place: str) -> None:
    """Raise UserError for a name that cannot name a sweep, its file and its folder."""
    if not re.fullmatch(r"[\w][\w.-]*", name, re.ASCII):
        raise UserError(f"{place}: its name is {brief(name)}. Use letters, digits, '_', '-' and '.'")
    if len(name) > LONGEST_NAME:
        raise UserError(f"{place}: its name has {len(name)} characters. At most {LONGEST_NAME} are allowed")


def _refuse_seeds(seeds: Sequence[int], place: str) -> None:
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise UserError(f"{place}: seeds has {len(seeds)} entries. It must have 1 to {MOST_SEEDS}, as in [0, 1, 2]")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{place}: seeds is {brief(list(seeds))}. Each seed may appear only once")
    if large := [seed for seed in seeds if seed.bit_length() > 63]:
        raise UserError(f"{place}: seeds contains {brief(large[0])}. A seed must be below 2^63")


def _refuse_unusable(sweep: Sweep, path: Path) -> None:
    require_name(sweep.name, str(path))
    if sweep.name != path.stem:
        raise UserError(f"{path}: its name is {brief(sweep.name)}. It must be the name of the file, {path.stem!r}")
    if not 1 <= len(sweep.rows) <= MOST_ROWS:
        raise UserError(f"{path}: rows has {len(sweep.rows)} entries. It must have 1 to {MOST_ROWS}")
    _refuse_seeds(sweep.seeds, str(path))
    names = [row.row for row in sweep.rows]
    counts = Counter(names)
    if sweep.default and sweep.default not in names:
        near = nearest(sweep.default, names)
        raise UserError(f"{path}: default is {brief(sweep.default)}, which is not a row; {near}")
    for number, name in enumerate(names, start=1):
        if sweep.search and name.startswith(SAMPLE):
            raise UserError(f"{path}: row {name!r} begins like the search's samples. Give it another name")
        if not name.strip():
            raise UserError(f"{path}: row {number} has an empty name")
        if not name.isprintable():
            raise UserError(f"{path}: row {name!r} contains a line break or another control character. Remove it")
        if counts[name] > 1:
            raise UserError(f"{path}: row {name!r} appears {counts[name]} times. Each row needs its own name")
