"""Write a sweep file of plain values; checked as it will be when it is read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.plain_yaml import parse_plain_yaml
from pipeline.config.sweep_file import check_sweep, require_name
from pipeline.errors import UserError, brief
from pipeline.files import replacing

# The first line of these files. No other file is overwritten.
HEAD = "# Written by pipeline.api.write_sweep.\n"


def write_sweep_file(folder: Path, name: str, content: Mapping[str, object]) -> Path:
    """Write the content, less the name, as the sweep file FOLDER/NAME.yaml; return its path.

    Raises UserError for what a sweep file cannot hold, and if a file is there that was not written by this function.
    """
    require_name(name, "write_sweep")
    path = folder / f"{name}.yaml"
    if path.exists() and not path.read_bytes().startswith(HEAD.encode()):
        raise UserError(f"{path}: was not written by write_sweep, and stays as it is. Choose another name or folder")
    try:
        # Copies, since YAML would write a list that stands in two rows as an anchor and an alias.
        plain = json.loads(json.dumps({"name": name, **content}, default=_plain))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}. Give text, numbers, True, False, None, lists and dicts") from None
    text = HEAD + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
    check_sweep(parse_plain_yaml(text, path), path)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    """Return what JSON lacks as what it has: other mappings and sequences, and numpy's numbers and arrays."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{brief(value)} is of type {type(value).__name__}")
