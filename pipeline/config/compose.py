"""Composition: Hydra's overrides become one checked, frozen `Config`. The only file that knows Hydra."""

import copy
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from models.configs import CUT, CYCLEGAN, FASTCUT, check_model_fits
from pipeline.config.schema import (
    ComputeConfig,
    Config,
    MetricConfig,
    PathsConfig,
    TrackingConfig,
    TrainConfig,
    from_json,
)
from pipeline.config.trial_key import leaves
from pipeline.errors import UserError, first_line, nearest

# Options of the groups on the command line and in sweep files; each is a file of pipeline/conf or a preset.
MODELS = {"cut": CUT, "fastcut": FASTCUT, "cyclegan": CYCLEGAN}
TASKS = ("stripes", "horse2zebra", "cat2dog", "cityscapes", "grumpifycat", "folder")
GROUPS: dict[str, tuple[str, ...]] = {"model": tuple(MODELS), "schedule": tuple(MODELS), "task": TASKS}
# Fields that say which class the others belong to; changing one alone would leave the rest behind.
CHOSEN_BY_GROUP = {"model.method": "model", "data.kind": "task"}
COMMAND_LINE = "command line"

_BASE = {
    "seed": 0,
    "train": asdict(TrainConfig()),
    "metric": asdict(MetricConfig()),
    "compute": asdict(ComputeConfig()),
    "tracking": asdict(TrackingConfig()),
    "paths": asdict(PathsConfig()),
}


@dataclass(frozen=True)
class Setting:
    """One override as it was written, and where: 'model.temperature=0.1', 'command line'."""

    text: str
    place: str


def compose_config(overrides: Sequence[str], place: str = COMMAND_LINE) -> Config:
    """The trial that overrides of one place describe ('task=stripes', 'model.temperature=0.1')."""
    return compose_settings([Setting(text, place) for text in overrides])


def compose_settings(settings: Sequence[Setting]) -> Config:
    """The trial that settings of several places describe; of two for one field the later holds.

    Raises UserError with one line that names the place, the field, and what was found.
    """
    config = _composed(settings)
    try:
        check_model_fits(config.model, config.data.shape, config.train.batch_size)
    except ValueError as error:
        raise UserError(f"{_last_place(settings)}: {error}") from None
    return config


def compose_surroundings(overrides: Sequence[str]) -> Config:
    """What a command needs that trains nothing: data, metric, compute, tracking, paths. The model need not fit them."""
    return _composed([Setting(text, COMMAND_LINE) for text in overrides])


def change_config(config: Config, overrides: Sequence[str], parts: Sequence[str]) -> Config:
    """A trial's own settings but for some fields, which must belong to the given parts ('data', 'metric')."""
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
        if parse_override(text, COMMAND_LINE).key_or_group.split(".")[0] not in parts:
            belonging = ", ".join(f"{part}.…" for part in parts)
            raise UserError(
                f"{COMMAND_LINE}: {text!r}; what is trained is what it is, only {belonging} can be set here"
            )


def _composed(settings: Sequence[Setting]) -> Config:
    written = [(parse_override(setting.text, setting.place), setting.place) for setting in settings]
    places = {override.key_or_group: place for override, place in written}
    last_place = _last_place(settings)
    try:
        composed, fields = _composed_groups(_group_options(written))
        changed = copy.deepcopy(composed)
        for override, place in written:
            if override.key_or_group not in GROUPS:
                _refuse_unknown_field(override, place, composed, fields)
                OmegaConf.update(changed, override.key_or_group, override.value())
        container = OmegaConf.to_container(changed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{last_place}: {_composition_fault(error)}") from None
    return _checked(container, places, last_place)


def _last_place(settings: Sequence[Setting]) -> str:
    return settings[-1].place if settings else "defaults"


def tracking_uri(config: Config) -> str:
    """Where the records are, absolute, since trials run in folders of their own."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, relative, path = uri.partition("sqlite:///")
    if not scheme and relative and not path.startswith("/"):
        return f"sqlite:///{os.path.abspath(path)}"  # noqa: PTH100 (a URI's path, joined as text)
    return uri


def parse_override(text: str, place: str) -> Override:
    """One 'name=value'; additions, deletions and Hydra's own sweeps are refused."""
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(f"{place}: cannot read {text!r}; write name=value, as in model.temperature=0.1") from None
    if override.is_add() or override.is_delete() or override.is_force_add():
        raise UserError(f"{place}: {text!r} adds or deletes a field; only the fields there are can be set: name=value")
    if "${" in text:
        raise UserError(f"{place}: {text!r}; interpolations have no place here, write the value itself")
    if override.is_sweep_override():
        raise UserError(f"{place}: {text!r} asks for several values; write them as rows of a sweep file")
    return override


def to_override(name: str, value: object, place: str) -> str:
    """A row's setting as Hydra's text. Raises UserError for a value that would be evaluated or is not finite."""
    if isinstance(value, str) and ("${" in value or "\\" in value):
        raise UserError(f"{place}: {name} is {value!r}; interpolations have no place in a sweep file")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}: {name} is {value}; numbers must be finite")
    if isinstance(value, list):
        return f"{name}=[{','.join(to_override('', item, place)[1:] for item in value)}]"
    if not isinstance(value, str | int | float | bool | None):
        raise UserError(f"{place}: {name} is a {type(value).__name__}; set single fields, as in model.temperature: 0.1")
    return f"{name}={json.dumps(value)}" if name not in GROUPS else f"{name}={value}"


def _group_options(written: Sequence[tuple[Override, str]]) -> tuple[str, ...]:
    """The overrides that choose an option of a group, once each is known to name one."""
    groups = [(override, place) for override, place in written if override.key_or_group in GROUPS]
    for override, place in groups:
        options = GROUPS[override.key_or_group]
        if override.value() not in options:
            found = str(override.value())
            raise UserError(f"{place}: no {override.key_or_group} is called {found!r}; {nearest(found, options)}")
    return tuple(str(override.input_line) for override, _ in groups)


@lru_cache(maxsize=64)
def _composed_groups(options: tuple[str, ...]) -> tuple[DictConfig, frozenset[str]]:
    """Hydra's composition of the groups alone, and the names of its fields.

    Hydra takes tens of milliseconds, and the rows of a sweep differ in fields alone, mostly: those are set on a copy.
    """
    with _hydra():
        composed = compose("config", list(options))
    return composed, frozenset(_field_names(composed))


def _refuse_unknown_field(override: Override, place: str, composed: DictConfig, fields: Set[str]) -> None:
    name = override.key_or_group
    if name not in fields:
        raise UserError(f"{place}: no field is called {name!r}; {nearest(name, fields)}")
    if name in CHOSEN_BY_GROUP:
        raise UserError(f"{place}: {name} follows from the {CHOSEN_BY_GROUP[name]}; set {CHOSEN_BY_GROUP[name]}=…")
    if OmegaConf.is_dict(OmegaConf.select(composed, name, throw_on_missing=False)):
        raise UserError(f"{place}: {name} is a group of fields; set one of them, as in {_an_inner(name, fields)}=…")


def _checked(container: Any, places: Mapping[str, str], last_place: str) -> Config:
    """The settings as a `Config`. Raises UserError that blames the place where the faulty field was set."""
    for name, value in leaves(container):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{places.get(name, last_place)}: {name} is {value}; numbers must be finite")
    try:
        return from_json(json.dumps(container))
    except ValidationError as error:
        path, message = _violation(error.errors()[0])
        raise UserError(f"{_place_of(path, places) or last_place}: {message}") from None


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


def _an_inner(name: str, fields: Set[str]) -> str:
    return min(field_name for field_name in fields if field_name.startswith(f"{name}."))


def _violation(details: Any) -> tuple[str, str]:
    """The field that pydantic refuses, and what a user is told of it."""
    # The tags of the unions ('stripes', 'cut') stand in pydantic's path but are no fields.
    tags = {"stripes", "folder", "cut", "cyclegan"}
    path = ".".join(str(part) for part in details["loc"] if part not in tags)
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    if details["type"] == "value_error":
        return path, f"{path}: {message}" if path else message
    if details["type"] == "missing":
        return path, f"{path} must be given, as in {path}=…"
    return path, f"{path} is {details['input']!r}; {message[0].lower()}{message[1:]}"


def _place_of(path: str, places: Mapping[str, str]) -> str | None:
    """Where the field, one around it or one inside it was set last."""
    related = [name for name in places if f"{path}.".startswith(f"{name}.") or f"{name}.".startswith(f"{path}.")]
    return places[related[-1]] if path and related else None


def _composition_fault(error: Exception) -> str:
    if (missing := getattr(error, "full_key", None)) and type(error).__name__ == "MissingMandatoryValue":
        return f"{missing} must be given, as in {missing}=…"
    return first_line(error)
