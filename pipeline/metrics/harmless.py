"""Refuse files of networks that could run a command, or read and write files, when they are loaded or used.

torch reads such files as programs of their writer. A network needs only tensors and arithmetic, so that is all that is
let through.
"""

import ast
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipeline.environment import environment


class HarmfulError(Exception):
    """A file holds more than a network; the text says what."""


# What torch.export.save writes for a network, today and before torch 2.8. Not here: pickled objects, compiled code.
_PROGRAM_FILES = re.compile(
    r"([^/]+/)?(archive_format|archive_version|byteorder|version|\.data/\w+|models/model\.json|data/weights/\w+(\.\w+)?"
    r"|data/constants/(tensor_\w+|model_constants_config\.json)|data/sample_inputs/model\.pt)"
    r"|serialized_(exported_program\.json|(state_dict|constants|example_inputs)\.pt)"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten\.(?!save\b|from_file\b)|prims\.|quantized_decomposed\.|torchvision\.)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)"
)
# Names and options. Without quotes, brackets and line breaks no text can become code.
_PLAIN = re.compile(r"[\w .,:;/<>+-]*")
_ARITHMETIC = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
    ast.Subscript, ast.Call, ast.keyword, ast.Constant, ast.Load,
)  # fmt: skip
_SIZES = ("size", "stride", "storage_offset", "dim")
# Functions of TorchScript that reach beyond the network.
_SCRIPT_REACHES = re.compile(r"\b(save|from_file|load_tensor|rpc_\w+)\b")


def weights_only() -> AbstractContextManager[None]:
    """Let torch.load read only tensors in the body, also where a library asks for everything."""
    return environment({"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"})


def require_plain_program(file: Path) -> None:
    """Raise HarmfulError if an exported program holds pickled objects, compiled code, or more than arithmetic."""
    with zipfile.ZipFile(file) as archive:
        names = _names(archive)
        for name in names:
            if not _PROGRAM_FILES.fullmatch(name):
                raise HarmfulError(f"it contains {name!r}, which is no part of a network")
        for name in names:
            if name.endswith(("models/model.json", "serialized_exported_program.json")):
                _require_plain(json.loads(archive.read(name)))


def require_plain_script(file: Path) -> None:
    """Raise HarmfulError if TorchScript reads or writes files, or talks to other processes."""
    with zipfile.ZipFile(file) as archive:
        for name in _names(archive):
            if name.endswith(".py") and (found := _SCRIPT_REACHES.search(archive.read(name).decode())):
                raise HarmfulError(f"its code calls {found[0]!r}, which reaches beyond the network")


def _names(archive: zipfile.ZipFile) -> list[str]:
    names = archive.namelist()
    if len(set(names)) < len(names):
        # Readers differ in which of them they take.
        raise HarmfulError("it contains two files of one name")
    return names


def _require_plain(program: Any) -> None:
    for key, value in _texts(program):
        if key == "target":
            plain = _OPERATORS.fullmatch(value)
        elif key in ("expr_str", "guards_code"):
            plain = _is_arithmetic(value)
        elif key in ("in_spec", "out_spec"):
            plain = "default_factory" not in value
        else:
            plain = _PLAIN.fullmatch(value)
        if not plain:
            raise HarmfulError(f"its program has {key}={value[:80]!r}, which is no arithmetic")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a JSON value with the name of its field, but not those that describe the source code."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, key)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if name != "metadata":
                yield "name", name
                yield from _texts(one, name)


def _is_arithmetic(text: str) -> bool:
    """Return whether a text is an expression of sizes and numbers. torch evaluates it."""
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in nodes:
        match node:
            case ast.Name(name):
                plain = re.fullmatch(r"L|[a-z]\d+|[A-Z]\w*|True|False", name)
            case ast.Attribute(attr=name):
                plain = name in _SIZES
            case ast.Constant(str(name)):
                plain = re.fullmatch(r"\w*", name)
            case _:
                plain = isinstance(node, _ARITHMETIC)
        if not plain:
            return False
    return True
