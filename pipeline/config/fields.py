"""The types of settings: numbers with bounds, sizes, names and paths. Pydantic checks them."""

import re
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from analysis.records.address import without_password
from models.configs.limits import require
from pipeline.errors import brief
from pipeline.storage.address import address_fault, is_address

Channels = Literal[1, 3]
Auto = Literal["auto"]
# Upper bounds refuse slips, such as a zero too many, before they cost memory and time.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[int, Field(ge=0, le=100_000)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Decay = Annotated[float, Field(ge=0, lt=1)]
# A Fréchet distance needs two images.
ImageCount = Annotated[int, Field(ge=2, le=10_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# More settings than there are fields.
MOST_SETTINGS = 100
# Of a name in bytes, since the name of a file can have 255.
LONGEST_NAME = 100
# Of a question or another text in a title, in characters.
LONGEST_TEXT = 1000


def _checked_name(name: str) -> str:
    """Return a task's name if it can also name an experiment and a folder."""
    require(
        re.fullmatch(r"\w[\w .+-]*", name) is not None,
        f"{brief(name)} is no name. Use letters, digits, '_', '-', '.', '+' and spaces",
    )
    require(len(name.encode()) <= LONGEST_NAME, f"{brief(name)} is longer than {LONGEST_NAME} bytes. Shorten it")
    return name


def _checked_path(path: str) -> str:
    """Return a path if it is one of this machine's file system."""
    require(not is_address(path), f"{brief(path)} is an address. Write a local path")
    return path


def _checked_place(place: str) -> str:
    """Return a path, or an address of storage."""
    if is_address(place) and (fault := address_fault(place)):
        # Without the login that it may hold.
        require(False, f"{brief(without_password(place))}: {fault}")
    return place


Name = Annotated[str, AfterValidator(_checked_name)]
LocalPath = Annotated[str, AfterValidator(_checked_path)]
# A local path, or an address that fsspec knows (`pipeline.storage`).
Place = Annotated[str, AfterValidator(_checked_place)]


def _as_pair(value: Any) -> Any:
    match value:
        case int() if not isinstance(value, bool):
            return value, value
        case [int(), int()]:
            return tuple(cast(list[int], value))
        case _:
            raise ValueError(f"{brief(value)} is no size. Write one number for a square, or [height, width]")


# Height and width in pixels. One number stands for a square.
Side = Annotated[int, Field(ge=16, le=4096)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_as_pair)]
