"""Texts of others, such as tags and file names, as a terminal may show them."""


def printable(text: str) -> str:
    """Return a text with a space for each character that would control the terminal, such as ESC."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
