"""The user's own Python file, whose functions settings can name: sources of negatives, and a loss.

The settings hold the text of the file, not its path. So a trial runs the same text on every machine and after every
stop, and a changed file is another trial.
"""

import ast
import functools
import linecache
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


class OwnCodeError(ValueError):
    """A fault in the user's file. The message names the file and the function."""


@dataclass(frozen=True)
class OwnCode:
    """A Python file of the user. name: as messages give it. text: its content.

    Making one parses the text and runs nothing. `function` runs it.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        try:
            ast.parse(self.text)
        except SyntaxError as error:
            raise OwnCodeError(f"{self.name}, line {error.lineno}: {error.msg}; correct the file") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise OwnCodeError(f"{self.name} is not Python ({error})") from None

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions at the top level of the file, without those that begin with '_'."""
        return tuple(name for name in _definitions(self) if not name.startswith("_"))

    def use(self, functions: Iterable[str], *names: str) -> bool:
        """Return whether these functions, or others of the file that they use, have one of the names in them."""
        definitions, seen, left = _definitions(self), set[str](), list(functions)
        while left:
            if (name := left.pop()) in definitions and name not in seen:
                seen.add(name)
                nodes = list(ast.walk(definitions[name]))
                left += [node.id for node in nodes if isinstance(node, ast.Name)]
                left += [node.attr for node in nodes if isinstance(node, ast.Attribute)]
            if name in names:
                return True
        return False

    def function(self, name: str) -> Callable[..., Any]:
        """Run the file, once in this process, and return a function of it. Raises OwnCodeError if it cannot be run."""
        return getattr(_module(self), name)


@functools.cache
def _definitions(code: OwnCode) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(code.text).body if isinstance(node, ast.FunctionDef)}


@functools.cache
def _module(code: OwnCode) -> ModuleType:
    """Return the file as a module. Tracebacks show its lines."""
    module = ModuleType(f"own_code_{abs(hash(code)):x}")
    module.__file__ = code.name
    # Dataclasses and pickle look for a class's module here.
    sys.modules[module.__name__] = module
    linecache.cache[code.name] = (len(code.text), None, code.text.splitlines(keepends=True), code.name)
    try:
        exec(compile(code.text, code.name, "exec"), module.__dict__)  # noqa: S102 (the user's own file)
    except Exception as error:
        raise OwnCodeError(f"{code.name} cannot be run: {type(error).__name__}: {error}") from error
    return module
