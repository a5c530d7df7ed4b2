"""How commands print to a terminal, a file or a pipe."""

from rich.console import Console

# Of a table in a file or a pipe, in characters.
WIDTH = 160


def wide_console(*, quiet: bool = False) -> Console:
    """Return a console as wide as the terminal, or wide enough that a file has one line per trial."""
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(width=WIDTH, quiet=quiet)
