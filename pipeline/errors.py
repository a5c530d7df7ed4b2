"""The one kind of error a user sees: a line that names the thing, the place and the mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something only the user can mend; commands print its text alone and exit with code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """': did you mean x?' where a known name is near, else the list of the known ones."""
    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(matches)}?" if matches else f"known: {', '.join(names)}"
