"""A sweep file, read and checked, and the trials it stands for. Pure but for reading the file.

name: ablation_negatives
question: one sentence
base: [model=cut]
seeds: [0, 1, 2]
rows:
  - {row: internal, set: {model.negatives: [internal]}, paper: "Fig. 4: CUT (default)"}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.config import Setting, compose_settings, parse_override, to_override
from pipeline.errors import UserError, nearest
from pipeline.identity import trial_key
from pipeline.settings import Config

SWEEPS = Path("sweeps")


@dataclass(frozen=True)
class Row:
    """One line of the table: its name, the settings that make it, and where the paper has its like."""

    row: str
    set: dict[str, Any]
    paper: str = ""


@dataclass(frozen=True)
class Sweep:
    """Rows times seeds, on top of overrides that all of them share."""

    name: str
    question: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    base: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What an error calls the file."""
        return f"{SWEEPS}/{self.name}.yaml"


@dataclass(frozen=True)
class Trial:
    """One row with one seed, composed."""

    row: str
    seed: int
    config: Config


def load_sweep(name: str) -> Sweep:
    """The sweep of that name in sweeps/. Raises UserError for whatever is wrong with it."""
    path = SWEEPS / f"{name}.yaml"
    if not path.is_file():
        known = [file.stem for file in SWEEPS.glob("*.yaml")]
        raise UserError(f"{SWEEPS}/: no sweep is called {name!r}; {nearest(name, known)}")
    return read_sweep(path)


def read_sweep(path: Path) -> Sweep:
    """The sweep in a file, checked but for what composing its rows finds."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: {getattr(error, 'problem', None) or 'not a text of YAML'}") from None
    sweep = _validated(content, path)
    _refuse_unusable(sweep, path)
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
    return sweep, rest


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
    _refuse_unknown_keys(content, Sweep, f"{path}")
    rows = content.get("rows")
    if not isinstance(rows, list):
        raise UserError(f"{path}: rows is {rows!r}; it must be a list of rows")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            _refuse_unknown_keys(row, Row, f"{path}, row {number}")
    try:
        # Through JSON, where strict means that 2.0 and "2" are not 2, but a list may be a tuple.
        return TypeAdapter(Sweep).validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        details = error.errors()[0]
        where = ".".join(str(part) for part in details["loc"])
        raise UserError(f"{path}: {where}: {details['msg'][0].lower()}{details['msg'][1:]}") from None


def _refuse_unknown_keys(content: dict[Any, Any], kind: type, place: str) -> None:
    known = list(kind.__dataclass_fields__)
    for key in content:
        if key not in known:
            raise UserError(f"{place}: no key is called {key!r}; {nearest(str(key), known)}")


def _refuse_unusable(sweep: Sweep, path: Path) -> None:
    if sweep.name != path.stem:
        raise UserError(f"{path}: its name is {sweep.name!r}; it must be that of the file, {path.stem!r}")
    if not sweep.rows:
        raise UserError(f"{path}: rows is empty; a sweep needs at least one")
    if not sweep.seeds or len(set(sweep.seeds)) != len(sweep.seeds):
        raise UserError(f"{path}: seeds is empty or names one twice; as in seeds: [0, 1, 2]")
    for row in sweep.rows:
        if "seed" in row.set:
            raise UserError(f"{path}: row {row.row!r} sets seed; seeds belong to the whole sweep: seeds: [0, 1, 2]")
    if any(text.partition("=")[0] == "seed" for text in sweep.base):
        raise UserError(f"{path}: base sets seed; write seeds: [0, 1, 2]")
    names = [row.row for row in sweep.rows]
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise UserError(f"{path}: row {number} has an empty name")
        if names.count(name) > 1:
            raise UserError(f"{path}: row {name!r} stands {names.count(name)} times; rows need names of their own")


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
