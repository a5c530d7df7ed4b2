"""Composition: Hydra's overrides become one checked, frozen `Config`. The only file that knows Hydra."""

import copy
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from analysis.store.database import absolute_store
from models.configs.cut import CUT, FASTCUT
from models.configs.cyclegan import CYCLEGAN
from models.configs.dclgan import DCLGAN
from models.configs.fit import misfits
from models.configs.own_code import OwnCode, OwnCodeError
from models.configs.sincut import SINCUT
from pipeline.config.parallel import parallel_misfits
from pipeline.config.schema import (
    PATH_FIELDS,
    TEXT_FIELDS,
    Config,
    FolderConfig,
    StripesConfig,
    from_json,
    violations,
)
from pipeline.config.single_image.fit import single_image_misfits, wrong_task
from pipeline.config.single_image.settings import PicturesConfig, SingleConfig
from pipeline.config.text_file import read_text, refuse_control_characters
from pipeline.config.trial_key import leaves
from pipeline.errors import UserError, brief, collected, first_line, nearest

# Options of the groups. Each is a preset or a file of pipeline/config/groups.
MODELS = {"cut": CUT, "fastcut": FASTCUT, "cyclegan": CYCLEGAN, "sincut": SINCUT, "dclgan": DCLGAN}
TASKS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("groups/task/*.yaml")))
GROUPS: dict[str, tuple[str, ...]] = {"model": tuple(MODELS), "schedule": tuple(MODELS), "task": TASKS}
# These fields choose the class of the fields beside them, so they change only together with their group.
CHOSEN_BY_GROUP = {"model.method": "model", "data.kind": "task"}
# All fields of data and models, though no task or model has all of them.
KINDS = (StripesConfig, FolderConfig, SingleConfig, PicturesConfig)
OF_SOME_OPTIONS = {f"data.{part.name}" for kind in KINDS for part in fields(kind)}
OF_SOME_OPTIONS |= {f"model.{name}" for preset in MODELS.values() for name, _ in leaves(asdict(preset))}
COMMAND_LINE = "command line"
# Of an override in characters. Hydra reads a thousand in 0.03 s.
LONGEST_OVERRIDE = 10_000

# What a group leaves to the user, in Hydra's words.
MISSING = "???"


@dataclass(frozen=True)
class Setting:
    """A field or group, its value, and where it was written: 'model.temperature', 0.1, 'command line'."""

    name: str
    value: Any
    source: str


def compose_config(overrides: Sequence[str], source: str = COMMAND_LINE) -> Config:
    """Return the trial that overrides from one source describe ('task=stripes', 'model.temperature=0.1')."""
    return compose_settings([parse_setting(text, source) for text in overrides])


def compose_settings(settings: Sequence[Setting]) -> Config:
    """Return the trial that settings from several sources describe. The last setting of a field counts.

    Raises UserError with a line for each fault that names the source, the field and the value found there.
    """
    config = _composed(settings)
    found = misfits(config.model, config.data.shape, config.train.batch_size)
    if found := [*found, *parallel_misfits(config), *single_image_misfits(config)]:
        raise UserError(*(f"{_last_source(settings)}: {fault}" for fault in found))
    return config


def compose_surroundings(overrides: Sequence[str]) -> Config:
    """Return the settings for a command that trains nothing. The model need not fit the data."""
    return _composed([parse_setting(text, COMMAND_LINE) for text in overrides])


def change_config(config: Config, overrides: Sequence[str], parts: Sequence[str]) -> Config:
    """Return a trial's settings with some fields changed. These must belong to the given parts ('data', 'metric')."""
    refuse_other_parts(overrides, parts)
    return _with_fields(asdict(config), [parse_setting(text, COMMAND_LINE) for text in overrides])


def refuse_other_parts(overrides: Sequence[str], parts: Sequence[str]) -> None:
    """Raise UserError for an override that sets a field outside the given parts of the settings."""
    for text in overrides:
        if _part_of(text) not in parts:
            allowed = ", ".join(f"{part}.…" for part in parts)
            raise UserError(
                f"{COMMAND_LINE}: {brief(text)}. The model of a trained trial is fixed. Only {allowed} can be set"
            )


def only_parts(overrides: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Return the overrides that set fields of the given parts of the settings."""
    return [text for text in overrides if _part_of(text) in parts]


def take_options(overrides: Sequence[str], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate a command's own options, such as seeds=[0,1], from the overrides: (values by name, other overrides)."""
    values: dict[str, Any] = {}
    others: list[str] = []
    for text in overrides:
        setting = parse_setting(text, COMMAND_LINE)
        if setting.name in names:
            values[setting.name] = setting.value
        else:
            others.append(text)
    return values, others


def _part_of(text: str) -> str:
    return parse_setting(text, COMMAND_LINE).name.split(".")[0]


def _composed(settings: Sequence[Setting]) -> Config:
    groups = [setting for setting in settings if setting.name in GROUPS]
    for group in groups:
        if group.value not in (options := GROUPS[group.name]):
            found = str(group.value)
            raise UserError(f"{group.source}: no {group.name} is called {brief(found)}; {nearest(found, options)}")
    try:
        composed = _composed_groups(tuple(f"{group.name}={group.value}" for group in groups))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{_last_source(settings)}: {first_line(error)}") from None
    return _with_fields(composed, settings)


@lru_cache(maxsize=64)
def _composed_groups(options: tuple[str, ...]) -> dict[str, Any]:
    """Return Hydra's composition of the groups.

    Hydra takes 60 to 90 ms for a composition (2-core EPYC). Most rows of a sweep choose the same groups, so a row sets
    its fields on a copy. A search composes hundreds of rows.
    """
    # All that has a default; the model and the data come from their groups.
    parts = {part.name: asdict(part.default_factory()) for part in fields(Config) if callable(part.default_factory)}
    store = ConfigStore.instance()
    store.store(name="base", node={"seed": 0, **parts})
    for name, preset in MODELS.items():
        store.store(group="model", name=name, node=asdict(preset))
    GlobalHydra.instance().clear()
    with initialize_config_module("pipeline.config.groups", version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose("config", list(options)), resolve=True)
    return composed


def _with_fields(values: dict[str, Any], settings: Sequence[Setting]) -> Config:
    """Return the values with some fields changed. The UserError for faulty fields names the source of each setting."""
    sources = {setting.name: setting.source for setting in settings}
    known, changed, faults = {name for name, _ in leaves(values)}, copy.deepcopy(values), list[str]()
    for setting in settings:
        if setting.name in GROUPS:
            continue
        with collected(faults):
            _refuse_unknown(setting, known)
            *groups, field_name = setting.name.split(".")
            reduce(getitem, groups, changed)[field_name] = _expanded(setting)
    for name, value in leaves(changed):
        if value == MISSING:
            faults.append(f"{_last_source(settings)}: {name} must be given, as in {name}=…")
        if isinstance(value, float) and not math.isfinite(value):
            faults.append(f"{sources.get(name, _last_source(settings))}: {name} is {value}. It must be finite")
    # Before the model's own fields are looked at: a task sets some that SinCUT does not have.
    if fault := wrong_task(changed["model"]["method"], changed["data"]["kind"]):
        faults.append(f"{_last_source(settings)}: {fault}")
    if faults:
        raise UserError(*faults)
    try:
        return from_json(json.dumps(changed))
    except ValidationError as error:
        raise UserError(*(f"{_source_of(name, settings)}: {fault}" for name, fault in violations(error))) from None


def _refuse_unknown(setting: Setting, known: set[str]) -> None:
    """Raise UserError for what is no field that can be set."""
    name, source = setting.name, setting.source
    if inner := min((field_name for field_name in known if field_name.startswith(f"{name}.")), default=""):
        raise UserError(f"{source}: {name} is a group of fields. Set one of them, as in {inner}=…")
    if name not in known:
        if name in OF_SOME_OPTIONS:
            others = "tasks" if name.startswith("data.") else "models"
            raise UserError(f"{source}: {name} is a field of other {others}, not of this one. Leave it out")
        raise UserError(f"{source}: no field is called {brief(name)}; {nearest(name, {*known, *GROUPS})}")
    if group := CHOSEN_BY_GROUP.get(name):
        raise UserError(f"{source}: {name} cannot be set by itself. Set {group}=…, which includes it")
    if "${" in str(setting.value):
        value = brief(setting.value)
        raise UserError(f"{source}: {name} is {value}. Interpolations are not allowed. Write the value")


def _source_of(name: str, settings: Sequence[Setting]) -> str:
    """Return where a field was set, or a group around it or a field inside it."""
    sources = {setting.name: setting.source for setting in settings}
    related = [set_ for set_ in sources if f"{name}.".startswith(f"{set_}.") or f"{set_}.".startswith(f"{name}.")]
    return sources[related[-1]] if name and related else _last_source(settings)


def _expanded(setting: Setting) -> Any:
    """Return a setting's value; in a path, `~/` becomes the home folder, and a path of code becomes the code."""
    value = setting.value
    if setting.name in PATH_FIELDS and isinstance(value, str):
        if value.startswith("~/"):
            value = os.path.expanduser(value)  # noqa: PTH111 (pathlib would drop a final slash, and raise without home)
        if setting.name == "model.code":
            try:
                return asdict(OwnCode(value, read_text(Path(value))))
            except (UserError, OwnCodeError) as error:
                raise UserError(f"{setting.source}: model.code: {error}") from None
    return value


def _last_source(settings: Sequence[Setting]) -> str:
    return settings[-1].source if settings else "defaults"


def tracking_uri(config: Config) -> str:
    """Return the URI of the MLflow store. A path in it is absolute, since trials run in folders of their own."""
    return absolute_store(config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")


def parse_setting(text: str, source: str) -> Setting:
    """Parse one 'name=value'. Raises UserError for additions, deletions and Hydra's own sweeps.

    A field of text takes what stands behind the equals sign, also where Hydra reads no text there: commas, brackets,
    accents, a number. Quotes around it are removed, and null stands for none.
    """
    refuse_control_characters(text, source)
    if len(text) > LONGEST_OVERRIDE:
        raise UserError(f"{source}: {brief(text)} has {len(text)} characters. At most {LONGEST_OVERRIDE} are allowed")
    name, _, rest = text.partition("=")
    try:
        override = OverridesParser.create().parse_override(text)
        value = None if override.is_sweep_override() else override.value()
    except (HydraException, ValueError, OverflowError, RecursionError):
        if name in TEXT_FIELDS:
            return Setting(name, rest, source)
        raise UserError(f"{source}: cannot read {brief(text)}. Write name=value, as in model.temperature=0.1") from None
    if name in TEXT_FIELDS:
        return Setting(name, value if isinstance(value, str) or rest == "null" else rest, source)
    if override.is_add() or override.is_delete() or override.is_force_add() or override.package:
        raise UserError(f"{source}: {brief(text)} adds or deletes a field, or names a package. Write name=value")
    if override.is_sweep_override():
        instead = "seeds=[0,1]" if name in ("seed", "seeds") else "them as rows of a sweep file"
        raise UserError(f"{source}: {brief(text)} gives several values. Write {instead}")
    return Setting(override.key_or_group, value, source)
