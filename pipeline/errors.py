"""The error that a user sees: one line with what was found, where, and what to do."""

import difflib
from collections.abc import Iterable
from pathlib import Path

# Longer lists are shortened to the first parts of the names.
SHORT_LIST = 20


class UserError(Exception):
    """A fault that the user can correct. Commands print only its text and exit with code 2."""


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, or its type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shown(text: Path | str) -> str:
    """Return a name from outside as one line that can be printed anywhere.

    Control characters, and the bytes of a file's name that are no UTF-8, become codes such as \\n and \\xe9.
    """
    return "".join(char if char.isprintable() else _code(char) for char in str(text))


def _code(char: str) -> str:
    # Python reads a byte that is no UTF-8 as one of these (PEP 383).
    byte = ord(char) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else char.encode("unicode_escape").decode()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return 'did you mean x?' if a known name is similar, else a list of the known names."""
    names = sorted(known)
    # 'task.root' or 'root' for 'data.root': the last part is what people remember.
    same_end = [found for found in names if "." in found and found.rpartition(".")[2] == name.rpartition(".")[2]]
    matches = same_end[:3] or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    first_parts = sorted({name.split(".")[0] for name in names})
    return f"known: {', '.join(names if len(names) <= SHORT_LIST else [f'{part}.…' for part in first_parts])}"
