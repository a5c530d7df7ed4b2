"""Texts from outside, such as tags and file names, as one line that can be printed anywhere."""


def printable(text: object) -> str:
    """Return a text with codes for control characters, and for bytes that are no UTF-8.

    They become \\x1b, \\n and \\xe9, so that a name does not control the terminal or end the line.
    """
    return "".join(letter if letter.isprintable() else _code(letter) for letter in str(text))


def _code(letter: str) -> str:
    # Python reads a byte that is no UTF-8 as one of these (PEP 383).
    byte = ord(letter) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode()
