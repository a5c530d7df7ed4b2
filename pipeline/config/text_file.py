"""Read a text file that the user wrote: a sweep, or code."""

import re
import stat
from pathlib import Path

from pipeline.errors import UserError, brief

# A sweep of a thousand rows takes about 60 kB. The parser of YAML reads 100 kB in a second.
MOST_BYTES = 250_000
# Longer paths are shortened in errors.
LONGEST_SHOWN = 250
# Control characters except tab and line break; characters that turn the direction of writing; half characters, which
# also stand for bytes that are no UTF-8. A terminal, a page or a file name would take them for something else.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def refuse_control_characters(text: str, place: str) -> None:
    """Raise UserError if the text has a character that is not for reading."""
    if found := CONTROL.search(text):
        raise UserError(f"{place}: {brief(text)} contains {found[0]!r}. Control characters are not allowed. Remove it")


def read_text(path: Path) -> str:
    """Return the content of a text file. Raises UserError, with file and line, for anything that is no short text."""
    try:
        found = path.stat()
    except OSError as error:
        shown = path if len(str(path)) <= LONGEST_SHOWN else brief(str(path))
        raise UserError(f"{shown}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: a {'folder' if path.is_dir() else 'device or pipe'}. Give the path of a file")
    if found.st_size > MOST_BYTES:
        size, most = f"{found.st_size / 1000:.0f} kB", f"{MOST_BYTES // 1000} kB"
        raise UserError(f"{path}: {size}. At most {most} are allowed. Shorten it")
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8. Save the file as UTF-8 text") from None
    for number, line in enumerate(text.split("\n"), start=1):
        refuse_control_characters(line.rstrip("\r"), f"{path}:{number}")
    return text
