"""Read what an offline run of Weights & Biases has written."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The file is a log as LevelDB writes it, behind a head of seven bytes.
HEAD, BLOCK, OF_RECORD = 7, 32768, struct.Struct("<IHB")


def records(file: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, content = file.read_bytes(), HEAD, b""
    while at + OF_RECORD.size <= len(data):
        if (left := BLOCK - at % BLOCK) < OF_RECORD.size:
            at += left
            continue
        _, length, kind = OF_RECORD.unpack_from(data, at)
        at += OF_RECORD.size
        content += data[at : at + length]
        at += length
        if kind in (1, 4):  # a whole record, or its last part
            record: Any = Record()
            record.ParseFromString(content)
            yield record
            content = b""


def history(file: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of everything that was logged by this name."""
    found: list[tuple[int, float]] = []
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if name in row:
                found.append((int(row["_step"]), row[name]))
    return found


def summary(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(file):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def settings(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(file):
        if record.WhichOneof("record_type") == "run":
            for item in record.run.config.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found
