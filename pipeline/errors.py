"""The error that a user sees: one line with what was found, where, and what to do."""

import difflib
import reprlib
from collections.abc import Iterable

from analysis.records.address import without_password
from analysis.records.printable import printable

# Longer lists are shortened to the first parts of the names.
SHORT_LIST = 20

# The repr of long values keeps its beginning and its end.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 100


class UserError(Exception):
    """A fault that the user can correct. Commands print only its text and exit with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(without_password(message))


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, or its type if it has no text. Passwords are left out."""
    return without_password(printable((str(error).strip() or type(error).__name__).splitlines()[0]))


def brief(value: object) -> str:
    """Return a value as errors quote it: its repr, shortened if it is long."""
    return _BRIEF.repr(value)


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
