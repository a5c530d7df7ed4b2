"""The one kind of error a user sees: a line that names the thing, the place and the mend."""

import difflib
from collections.abc import Iterable

# A longer list is told by its groups.
SHORT_LIST = 20


class UserError(Exception):
    """Something only the user can mend; commands print its text alone and exit with code 2."""


def first_line(error: Exception) -> str:
    """What a foreign error says first; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """': did you mean x?' where a known name is near, else the list of the known ones."""
    names = sorted(known)
    # 'task.root' or 'root' for 'data.root': the last part is what people remember.
    alike = [found for found in names if "." in found and found.rpartition(".")[2] == name.rpartition(".")[2]]
    matches = alike[:3] or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    first_parts = sorted({name.split(".")[0] for name in names})
    return f"known: {', '.join(names if len(names) <= SHORT_LIST else [f'{part}.…' for part in first_parts])}"
