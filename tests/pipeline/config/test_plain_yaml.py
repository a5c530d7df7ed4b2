import os
from pathlib import Path

import pytest

from pipeline.config import text_file
from pipeline.config.plain_yaml import MOST_DIGITS, MOST_LEVELS, read_plain_yaml
from pipeline.config.text_file import MOST_BYTES
from pipeline.errors import UserError


def yaml_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def nested_aliases(levels: int = 8, wide: int = 9) -> str:
    """A few hundred bytes that stand for wide ** levels values."""
    lines = [f"a0: &a0 [{', '.join('x' * wide)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ("rows: &r [*r]", ("mine.yaml:1", "anchors")),
        ("a: 1\nset: &s {x: *s}", ("mine.yaml:2", "anchors")),
        (nested_aliases(), ("mine.yaml:1", "anchors")),
        ("a: *b", ("mine.yaml:1", "anchors")),
        ("a: 1\nb: !!binary aGVsbG8=", ("mine.yaml:2", "'!!binary'")),
        ("a: !!python/object/apply:os.system ['id']", ("mine.yaml:1", "os.system")),
        ("a: !mine%1b 1", ("mine.yaml:1", "'!mine\\x1b'")),
        ('a: "\\e[31m"', ("mine.yaml:1", "'\\x1b'")),
        ('a: "bell\\a"', ("mine.yaml:1", "'\\x07'")),
        ('a: "\\0"', ("mine.yaml:1", "'\\x00'")),
        ('a: "\\uD800"', ("mine.yaml:1", "'\\ud800'")),
        ('{"\\e": 1}', ("mine.yaml:1", "'\\x1b'")),
        ("a: 1\nb: \x1b[31m", ("mine.yaml:2", "'\\x1b'")),
        ("a: 1\nb: a\0b", ("mine.yaml:2", "'\\x00'")),
        ("a: \u202eexe.png", ("mine.yaml:1", "'\\u202e'")),
        (b"a: 1\nb: caf\xe9", ("mine.yaml:2", "UTF-8")),
        ("a: 1".encode("utf-16"), ("mine.yaml:1", "UTF-8")),
        ("[" * 100_000, ("mine.yaml:1", str(MOST_LEVELS))),
        ("\n".join(" " * level + "a:" for level in range(100)), ("mine.yaml:20", str(MOST_LEVELS))),
        (f"a: 1\nb: {'9' * 5000}", ("mine.yaml:2", "5000 digits")),
        (f"a: {'9' * (MOST_DIGITS + 1)}", ("mine.yaml:1", "31 digits")),
        ("a: 1\na: 2", ("mine.yaml:2", "'a' appears twice")),
        ("? [a, b]\n: 1", ("mine.yaml:1", "a key must be plain text")),
        ("a: 1\n---\nb: 2", ("mine.yaml:2", "document")),
        ("a: [1", ("mine.yaml:1",)),
        ('a: "\\U00110000"', ("mine.yaml", "not a YAML file")),
        (f"%YAML {'9' * 5000}.1\n---\na: 1", ("mine.yaml", "not a YAML file")),
        ("a" * (MOST_BYTES + 1), ("mine.yaml", "250 kB")),
    ],
    ids=range(28),
)
def test_what_is_not_plain_is_refused_in_one_line(tmp_path: Path, content: str | bytes, facts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        read_plain_yaml(yaml_file(tmp_path, content))
    said = str(caught.value)
    assert all(fact in said for fact in facts), said
    assert said.replace("…", "").isprintable()
    assert len(said) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("yes", True),
        ("Off", False),
        ("-12", -12),
        ("1_000", 1000),
        ("9" * MOST_DIGITS, int("9" * MOST_DIGITS)),
        ("0", 0),
        ("1.5", 1.5),
        ("-1.0e-3", -0.001),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("'1'", "1"),
        # Text, though some parsers of YAML 1.1 read a date, 16, 83, 5, 90 or a mapping to merge.
        ("2024-13-45", "2024-13-45"),
        ("0x10", "0x10"),
        ("0123", "0123"),
        ("0b101", "0b101"),
        ("1:30", "1:30"),
        ("<<", "<<"),
        ("=", "="),
        ("1e-3", "1e-3"),
        ("été", "été"),
    ],
)
def test_plain_values(tmp_path: Path, text: str, value: object) -> None:
    assert read_plain_yaml(yaml_file(tmp_path, f"a: {text}")) == {"a": value}


def test_a_mark_of_utf_8_and_line_ends_of_windows_are_taken(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfname: mine\r\nquestion: |\r\n  one\r\n  two\r\n"
    assert read_plain_yaml(yaml_file(tmp_path, content)) == {"name": "mine", "question": "one\ntwo\n"}


def test_a_file_of_the_largest_size_is_read_and_no_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MOST_BYTES", 5)
    assert read_plain_yaml(yaml_file(tmp_path, "a: 12")) == {"a": 12}
    with pytest.raises(UserError, match="At most"):
        read_plain_yaml(yaml_file(tmp_path, "a: 123"))


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes into would wait for ever, and reading /dev/zero would never end."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for name, kind in (("pipe", "pipe"), ("zero", "device"), ("folder", "a folder")):
        with pytest.raises(UserError, match=rf"{name}\.yaml: .*{kind}"):
            read_plain_yaml(tmp_path / f"{name}.yaml")
