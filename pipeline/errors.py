"""The error that a user sees: a line for each fault, with what was found, where, and what to do."""

import difflib
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from analysis.records.address import without_password
from analysis.records.printable import printable

# Longer lists are shortened to the first parts of the names.
SHORT_LIST = 20

# The repr of long values keeps its beginning and its end.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 100


class UserError(Exception):
    """One or more faults that the user can correct. Commands print a line for each and exit with code 2."""

    def __init__(self, *faults: str) -> None:
        self.faults = tuple(without_password(fault) for fault in faults)
        super().__init__("; ".join(self.faults))


@contextmanager
def collected(faults: list[str]) -> Iterator[None]:
    """Add the faults of a UserError in the body to the list, so that later steps can find theirs before it is raised.

    The same fault is listed once.
    """
    try:
        yield
    except UserError as error:
        faults += [fault for fault in error.faults if fault not in faults]


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
