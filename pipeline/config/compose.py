"""Composition: Hydra's overrides become one checked, frozen `Config`. The only file that knows Hydra."""

import copy
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from models.configs import CUT, CYCLEGAN, FASTCUT, check_model_fits
from pipeline.config.schema import Config, from_json, violation
from pipeline.config.trial_key import leaves
from pipeline.errors import UserError, first_line, nearest

# Options of the groups. Each is a preset or a file of pipeline/config/groups.
MODELS = {"cut": CUT, "fastcut": FASTCUT, "cyclegan": CYCLEGAN}
TASKS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("groups/task/*.yaml")))
GROUPS: dict[str, tuple[str, ...]] = {"model": tuple(MODELS), "schedule": tuple(MODELS), "task": TASKS}
# These fields choose the class of the fields beside them, so they change only together with their group.
CHOSEN_BY_GROUP = {"model.method": "model", "data.kind": "task"}
COMMAND_LINE = "command line"

# All that has a default; the model and the data come from their groups.
_DEFAULTS = {
    part.name: asdict(part.default_factory()) for part in dataclass_fields(Config) if callable(part.default_factory)
}
_BASE = {"seed": 0, **_DEFAULTS}


@dataclass(frozen=True)
class Setting:
    """One override and where it was written: 'model.temperature=0.1', 'command line'."""

    text: str
    source: str


def compose_config(overrides: Sequence[str], source: str = COMMAND_LINE) -> Config:
    """Return the trial that overrides from one source describe ('task=stripes', 'model.temperature=0.1')."""
    return compose_settings([Setting(text, source) for text in overrides])


def compose_settings(settings: Sequence[Setting]) -> Config:
    """Return the trial that settings from several sources describe. The last setting of a field counts.

    Raises UserError with one line that names the source, the field and the value found there.
    """
    config = _composed(settings)
    try:
        check_model_fits(config.model, config.data.shape, config.train.batch_size)
    except ValueError as error:
        raise UserError(f"{_last_source(settings)}: {error}") from None
    return config


def compose_surroundings(overrides: Sequence[str]) -> Config:
    """Return the settings for a command that trains nothing. The model need not fit the data."""
    return _composed([Setting(text, COMMAND_LINE) for text in overrides])


def change_config(config: Config, overrides: Sequence[str], parts: Sequence[str]) -> Config:
    """Return a trial's settings with some fields changed. These must belong to the given parts ('data', 'metric')."""
    refuse_other_parts(overrides, parts)
    changed = OmegaConf.create(asdict(config))
    fields = set(_field_names(changed))
    for text in overrides:
        override = parse_override(text, COMMAND_LINE)
        _refuse_unknown_field(override, COMMAND_LINE, changed, fields)
        try:
            OmegaConf.update(changed, override.key_or_group, override.value())
        except OmegaConfBaseException as error:
            raise UserError(f"{COMMAND_LINE}: {first_line(error)}") from None
    return _checked(OmegaConf.to_container(changed), {}, COMMAND_LINE)


def refuse_other_parts(overrides: Sequence[str], parts: Sequence[str]) -> None:
    """Raise UserError for an override that sets a field outside the given parts of the settings."""
    for text in overrides:
        if _part_of(text) not in parts:
            allowed = ", ".join(f"{part}.…" for part in parts)
            raise UserError(
                f"{COMMAND_LINE}: {text!r}. The model of a trained trial is fixed. Only {allowed} can be set"
            )


def only_parts(overrides: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Return the overrides that set fields of the given parts of the settings."""
    return [text for text in overrides if _part_of(text) in parts]


def take_options(overrides: Sequence[str], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate a command's own options, such as seeds=[0,1], from the overrides: (values by name, other overrides)."""
    values: dict[str, Any] = {}
    others: list[str] = []
    for text in overrides:
        override = parse_override(text, COMMAND_LINE)
        if override.key_or_group in names:
            values[override.key_or_group] = override.value()
        else:
            others.append(text)
    return values, others


def _part_of(text: str) -> str:
    return parse_override(text, COMMAND_LINE).key_or_group.split(".")[0]


def _composed(settings: Sequence[Setting]) -> Config:
    written = [(parse_override(setting.text, setting.source), setting.source) for setting in settings]
    sources = {override.key_or_group: source for override, source in written}
    last_source = _last_source(settings)
    try:
        composed, fields = _composed_groups(_group_options(written))
        changed = copy.deepcopy(composed)
        for override, source in written:
            if override.key_or_group not in GROUPS:
                _refuse_unknown_field(override, source, composed, fields)
                OmegaConf.update(changed, override.key_or_group, override.value())
        container = OmegaConf.to_container(changed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{last_source}: {error.full_key} must be given, as in {error.full_key}=…") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{last_source}: {first_line(error)}") from None
    return _checked(container, sources, last_source)


def _last_source(settings: Sequence[Setting]) -> str:
    return settings[-1].source if settings else "defaults"


def tracking_uri(config: Config) -> str:
    """Return the URI of the MLflow store. A path in it is absolute, since trials run in folders of their own."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, relative, path = uri.partition("sqlite:///")
    if not scheme and relative and not path.startswith("/"):
        return f"sqlite:///{os.path.abspath(path)}"  # noqa: PTH100 (a URI's path, joined as text)
    return uri


def parse_override(text: str, source: str) -> Override:
    """Parse one 'name=value'. Raises UserError for additions, deletions and Hydra's own sweeps."""
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(f"{source}: cannot read {text!r}. Write name=value, as in model.temperature=0.1") from None
    if override.is_add() or override.is_delete() or override.is_force_add():
        raise UserError(f"{source}: {text!r} adds or deletes a field. Fields can only be set: name=value")
    if "${" in text:
        raise UserError(f"{source}: {text!r} contains an interpolation, which is not allowed. Write the value itself")
    if override.is_sweep_override():
        raise UserError(f"{source}: {text!r} gives several values. Write them as rows of a sweep file")
    return override


def to_override(name: str, value: object, source: str) -> str:
    """Write a row's setting in Hydra's syntax. Raises UserError for a value that Hydra would evaluate."""
    if isinstance(value, str) and ("${" in value or "\\" in value):
        raise UserError(f"{source}: {name} is {value!r}. A sweep file must not contain interpolations")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{source}: {name} is {value}. It must be finite")
    if isinstance(value, list):
        return f"{name}=[{','.join(to_override('', item, source)[1:] for item in value)}]"
    if not isinstance(value, str | int | float | bool | None):
        raise UserError(
            f"{source}: {name} is a {type(value).__name__}. Set single fields, as in model.temperature: 0.1"
        )
    return f"{name}={json.dumps(value)}" if name not in GROUPS else f"{name}={value}"


def _group_options(written: Sequence[tuple[Override, str]]) -> tuple[str, ...]:
    """Return the overrides that choose an option of a group. Raises UserError for an unknown option."""
    groups = [(override, source) for override, source in written if override.key_or_group in GROUPS]
    for override, source in groups:
        options = GROUPS[override.key_or_group]
        if override.value() not in options:
            found = str(override.value())
            raise UserError(f"{source}: no {override.key_or_group} is called {found!r}; {nearest(found, options)}")
    return tuple(str(override.input_line) for override, _ in groups)


@lru_cache(maxsize=64)
def _composed_groups(options: tuple[str, ...]) -> tuple[DictConfig, frozenset[str]]:
    """Return Hydra's composition of the groups, and the names of its fields.

    Hydra takes 60 to 90 ms for a composition (2-core EPYC). Most rows of a sweep choose the same groups, so a row sets
    its fields on a copy, which takes 5 ms. A search composes hundreds of rows.
    """
    with _hydra():
        composed = compose("config", list(options))
    return composed, frozenset(_field_names(composed))


def _refuse_unknown_field(override: Override, source: str, composed: DictConfig, fields: Set[str]) -> None:
    name = override.key_or_group
    if name not in fields:
        raise UserError(f"{source}: no field is called {name!r}; {nearest(name, fields)}")
    if group := CHOSEN_BY_GROUP.get(name):
        raise UserError(f"{source}: {name} cannot be set by itself. Set {group}=…, which includes it")
    if OmegaConf.is_dict(OmegaConf.select(composed, name, throw_on_missing=False)):
        inner = min(field_name for field_name in fields if field_name.startswith(f"{name}."))
        raise UserError(f"{source}: {name} is a group of fields. Set one of them, as in {inner}=…")


def _checked(container: Any, sources: Mapping[str, str], last_source: str) -> Config:
    """Return the settings as a `Config`. The UserError for a faulty field names the source where it was set."""
    for name, value in leaves(container):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{sources.get(name, last_source)}: {name} is {value}. It must be finite")
    try:
        return from_json(json.dumps(container))
    except ValidationError as error:
        name, message = violation(error)
        raise UserError(f"{_source_of(name, sources) or last_source}: {message}") from None


@contextmanager
def _hydra() -> Iterator[None]:
    store = ConfigStore.instance()
    store.store(name="base", node=_BASE)
    for name, preset in MODELS.items():
        store.store(group="model", name=name, node=asdict(preset))
    GlobalHydra.instance().clear()
    with initialize_config_module("pipeline.config.groups", version_base="1.3"):
        yield


def _field_names(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from _field_names(node[key], f"{prefix}{key}.")


def _source_of(name: str, sources: Mapping[str, str]) -> str | None:
    """Return the source where the field, a group around it or a field inside it was set last."""
    related = [other for other in sources if f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")]
    return sources[related[-1]] if name and related else None
