"""Bounds of settings: the last value that is taken, and the first that is refused."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.config import fields
from pipeline.config.fields import LONGEST_NAME


def is_taken(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        ("Count", [1, 1_000_000], [0, 1_000_001]),
        ("Epochs", [0, 100_000], [-1, 100_001]),
        ("BatchSize", [1, 1024], [0, 1025]),
        ("Positive", [1e-9, 1e6], [0.0, -1.0, 1_000_001.0, float("inf"), float("nan")]),
        ("Decay", [0.0, 0.999], [-0.001, 1.0]),
        ("ImageCount", [2, 10_000_000], [1, 10_000_001]),
        ("Seed", [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
        ("Channels", [1, 3], [0, 2, 4]),
        ("Auto", ["auto"], ["Auto", ""]),
        ("Size", [16, 4096, [16, 4096]], [15, 4097, [16, 4097], [15, 16], True, [64], [64, 64, 64], "64", [64, "64"]]),
        (
            "Name",
            ["a", "9 b_.+-é", "é" * (LONGEST_NAME // 2)],
            ["", " a", ".a", "-a", "a/b", "a\n", "a" * 101, "é" * 51],
        ),
        ("LocalPath", ["a", "/a/b", "./a:b", "C:/a"], ["http://host/a", "s3://bucket", "git+ssh://host"]),
    ],
)
def test_each_bound_is_where_it_is_said_to_be(kind: str, taken: list[object], refused: list[object]) -> None:
    found = getattr(fields, kind)
    assert [value for value in taken if not is_taken(found, value)] == []
    assert [value for value in refused if is_taken(found, value)] == []


def test_one_number_is_a_square_and_a_list_height_and_width() -> None:
    sizes = TypeAdapter(fields.Size)
    assert sizes.validate_python(32) == (32, 32)
    assert sizes.validate_python([32, 48]) == (32, 48)
