import pytest

from analysis.records.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("été 画像", "été 画像"),
        (3, "3"),
        ("\x1b[31m", r"\x1b[31m"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\u202eexe", r"\u202eexe"),
        # Bytes that are no UTF-8, as Python reads them.
        ("caf\udce9", r"caf\xe9"),
        ("\udc80\udcff", r"\x80\xff"),
        # Other halves of characters.
        ("\udc7f\udd00\ud800", r"\udc7f\udd00\ud800"),
    ],
)
def test_what_cannot_be_printed_is_shown_by_its_code(text: object, shown: str) -> None:
    assert printable(text) == shown
    assert shown.isprintable()
