"""A sweep file, read and checked, and the trials it stands for. Pure but for reading the file.

name: ablation_negatives
question: one sentence
base: [model=cut]
seeds: [0, 1, 2]
rows:
  - {row: internal, set: {model.negatives: [internal]}, paper: "Fig. 4: CUT (default)"}
default: internal    # the row that the others are compared with; without it, the first

A search samples further rows: search: {samples: 16, space: {model.temperature: {loguniform: [0.01, 0.5]}}}
(`pipeline.config.search_space`).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.config.compose import Setting, compose_settings, parse_override, to_override
from pipeline.config.schema import Config
from pipeline.config.search_space import Sample, Search, random_samples
from pipeline.config.trial_key import trial_key
from pipeline.errors import UserError, nearest

SWEEPS = Path("sweeps")
# More are a mistake, mostly: a table of a thousand rows is read by nobody, and each trial takes minutes at least.
MOST_ROWS = 1000
# How the names of a search's rows begin; a number follows.
SAMPLE = "sample "


@dataclass(frozen=True)
class Row:
    """One line of the table: its name, the settings that make it, and where the paper has its like."""

    row: str
    set: dict[str, Any]
    paper: str = ""


@dataclass(frozen=True)
class Sweep:
    """Rows times seeds, on top of overrides that all of them share. default: the row that the others are compared with
    ('': the first). place: what an error calls the file."""

    name: str
    question: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    base: tuple[str, ...] = ()
    default: str = ""
    search: Search | None = None
    place: str = "command line"

    def with_row(self, row: Row) -> "Sweep":
        """The sweep with one more row."""
        return replace(self, rows=(*self.rows, row))

    def with_samples(self, samples: Sequence[Sample]) -> "Sweep":
        """The sweep with a row for each sample behind its own rows."""
        return replace(self, rows=(*self.rows, *(sampled_row(number, found) for number, found in enumerate(samples))))


@dataclass(frozen=True)
class Trial:
    """One row with one seed, composed."""

    row: str
    seed: int
    config: Config


def sampled_row(number: int, sample: Sample) -> Row:
    """The row of a search's sample."""
    return Row(f"{SAMPLE}{number}", sample)


def load_sweep(name: str) -> Sweep:
    """The sweep of that name in sweeps/, or of the file at that path. Raises UserError for what is wrong with it."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise UserError(f"{name}: no such file; give a sweep's name, or the path of its file")
        return read_sweep(Path(name))
    path = SWEEPS / f"{name}.yaml"
    if not path.is_file():
        known = [file.stem for file in SWEEPS.glob("*.yaml")]
        raise UserError(f"{SWEEPS}/: no sweep is called {name!r}; {nearest(name, known)}")
    return read_sweep(path)


def read_sweep(path: Path) -> Sweep:
    """The sweep in a file, checked but for what composing its rows finds."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except RecursionError:
        raise UserError(
            f"{path}: nested too deeply; a sweep is a mapping with name, question, seeds and rows"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: {getattr(error, 'problem', None) or 'not a text of YAML'}") from None
    sweep = replace(_validated(content, path), place=str(path))
    _refuse_unusable(sweep, path)
    if sweep.search and sweep.search.sampler == "random":
        return sweep.with_samples(random_samples(sweep.search))
    return sweep


def with_seeds(sweep: Sweep, overrides: Sequence[str]) -> tuple[Sweep, list[str]]:
    """Take seeds=[…] out of a command line's overrides, since it counts trials instead of setting a field."""
    rest: list[str] = []
    for text in overrides:
        override = parse_override(text, "command line")
        if override.key_or_group != "seeds":
            rest.append(text)
            continue
        seeds = override.value()
        if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)):
            raise UserError(f"command line: {text!r}; seeds are a list of whole numbers, as in seeds=[0,1,2]")
        if len(set(seeds)) != len(seeds):
            raise UserError(f"command line: {text!r} names a seed twice")
        sweep = replace(sweep, seeds=tuple(seeds))
        _require_one_seed(sweep)
    return sweep, rest


def retries_failed(overrides: Sequence[str]) -> tuple[bool, list[str]]:
    """Take retry=failed out of a command line's overrides, since it is about trials and not about one's settings."""
    given = [text for text in overrides if text.partition("=")[0] == "retry"]
    for text in given:
        if text != "retry=failed":
            raise UserError(f"command line: {text!r}; only failed trials can be tried again: retry=failed")
    return bool(given), [text for text in overrides if text not in given]


def expand(sweep: Sweep, overrides: Sequence[str]) -> list[Trial]:
    """Every trial, seed by seed and row by row, so that each row has its first seed early.

    Overrides apply to all rows; one that a row sets itself is refused. Two rows that come out as the same
    trial are refused, both named.
    """
    _refuse_overridden_rows(sweep, overrides)
    shared = [Setting(text, f"{sweep.place}, base") for text in sweep.base]
    shared += [Setting(text, "command line") for text in overrides]
    composed: dict[str, Config] = {}
    for row in sweep.rows:
        place = f"{sweep.place}, row {row.row!r}"
        own = [Setting(to_override(name, value, place), place) for name, value in row.set.items()]
        composed[row.row] = compose_settings([*shared, *own])
    first_with: dict[str, str] = {}
    for name, config in composed.items():
        twin = first_with.setdefault(trial_key(config, data="", weights=""), name)
        if twin != name:
            raise UserError(f"{sweep.place}: rows {twin!r} and {name!r} are the same trial; change or remove one")
    return [Trial(name, seed, replace(config, seed=seed)) for seed in sweep.seeds for name, config in composed.items()]


class _UniqueKeys(yaml.SafeLoader):
    """YAML as usual, but a key that stands twice is an error instead of the later one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            key = self.construct_object(key_node)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _validated(content: Any, path: Path) -> Sweep:
    if not isinstance(content, dict):
        raise UserError(f"{path}: a sweep is a mapping with name, question, seeds and rows")
    known = [name for name in Sweep.__dataclass_fields__ if name != "place"]
    _refuse_unknown_keys(content, known, f"{path}")
    rows = content.get("rows")
    if not isinstance(rows, list):
        raise UserError(f"{path}: rows is {rows!r}; it must be a list of rows")
    if len(rows) > MOST_ROWS:
        raise UserError(f"{path}: rows has {len(rows)} entries, at most {MOST_ROWS} are taken; split the sweep")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            _refuse_unknown_keys(row, list(Row.__dataclass_fields__), f"{path}, row {number}")
    if isinstance(search := content.get("search"), dict):
        _refuse_unknown_keys(search, list(Search.__dataclass_fields__), f"{path}, search")
    try:
        # Through JSON, where strict means that 2.0 and "2" are not 2, but a list may be a tuple.
        return TypeAdapter(Sweep).validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        details = error.errors()[0]
        where = ".".join(str(part) for part in details["loc"])
        message = details["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {message[0].lower()}{message[1:]}") from None


def _refuse_unknown_keys(content: dict[Any, Any], known: list[str], place: str) -> None:
    for key in content:
        if key not in known:
            raise UserError(f"{place}: no key is called {key!r}; {nearest(str(key), known)}")


def require_name(name: str, place: str) -> None:
    """Raise UserError for what cannot be a sweep's name, which is also a file's and a folder's."""
    if not re.fullmatch(r"[\w][\w.-]*", name, re.ASCII):
        raise UserError(f"{place}: its name is {name!r}; letters, digits, '_', '-' and '.' make a name")


def _refuse_unusable(sweep: Sweep, path: Path) -> None:
    require_name(sweep.name, str(path))
    if sweep.name != path.stem:
        raise UserError(f"{path}: its name is {sweep.name!r}; it must be that of the file, {path.stem!r}")
    if not sweep.rows:
        raise UserError(f"{path}: rows is empty; a sweep needs at least one, and a search one to compare with")
    if not sweep.seeds or len(set(sweep.seeds)) != len(sweep.seeds):
        raise UserError(f"{path}: seeds is empty or names one twice; as in seeds: [0, 1, 2]")
    for row in sweep.rows:
        if "seed" in row.set:
            raise UserError(f"{path}: row {row.row!r} sets seed; seeds belong to the whole sweep: seeds: [0, 1, 2]")
    _require_one_seed(sweep)
    if any(text.partition("=")[0] == "seed" for text in sweep.base):
        raise UserError(f"{path}: base sets seed; write seeds: [0, 1, 2]")
    names = [row.row for row in sweep.rows]
    if sweep.default and sweep.default not in names:
        raise UserError(f"{path}: default is {sweep.default!r}, which is no row of it; {nearest(sweep.default, names)}")
    for number, name in enumerate(names, start=1):
        if sweep.search and name.startswith(SAMPLE):
            raise UserError(f"{path}: row {name!r} is called as the search calls its samples; give it another name")
        if not name.strip():
            raise UserError(f"{path}: row {number} has an empty name")
        if not name.isprintable():
            raise UserError(f"{path}: row {name!r} has a line break or another sign that is not printed; remove it")
        if names.count(name) > 1:
            raise UserError(f"{path}: row {name!r} stands {names.count(name)} times; rows need names of their own")


def _require_one_seed(sweep: Sweep) -> None:
    if sweep.search and len(sweep.seeds) > 1:
        raise UserError(f"{sweep.place}: a search has one seed; promote its best rows and train those with several")


def _refuse_overridden_rows(sweep: Sweep, overrides: Sequence[str]) -> None:
    for text in overrides:
        name = parse_override(text, "command line").key_or_group
        for row in sweep.rows:
            if name in row.set:
                raise UserError(
                    f"command line: {text!r} would undo what row {row.row!r} of sweep {sweep.name} sets; "
                    f"change the row in {sweep.place}, or override another field"
                )
        if name == "seed":
            raise UserError(f"command line: {text!r}; a sweep takes seeds=[…]")
