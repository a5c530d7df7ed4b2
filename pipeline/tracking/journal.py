"""What a trial has recorded and the store has not taken yet: sent in order, or kept in a file beside the checkpoint."""

import base64
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from pipeline.files import replacing
from pipeline.storage.store import Store

if TYPE_CHECKING:
    from pipeline.tracking.store_client import StoreClient

JOURNAL = "unsent.json"
# MLflow's limit is 1000 metrics a batch.
BATCH_METRICS = 500


@dataclass(frozen=True)
class Entry:
    """One thing to record. content: the arguments for MLflow, of plain values and image arrays."""

    kind: Literal["metric", "tags", "evaluation", "text", "status"]
    content: Mapping[str, Any]


def metrics(step: int, values: Mapping[str, float]) -> list[Entry]:
    """Return the entries for values of one step, with the present time."""
    now = int(time.time() * 1000)
    return [
        Entry("metric", {"key": name, "value": value, "timestamp": now, "step": step}) for name, value in values.items()
    ]


def send(client: "StoreClient", run_id: str, unsent: deque[Entry]) -> None:
    """Send the entries in order. Each is removed once the store has it; after an error the others stay.

    An entry may be sent twice, if its answer is lost. MLflow keeps equal values once.
    """
    while unsent:
        entries = list(unsent)[:BATCH_METRICS]
        batch = list(takewhile(lambda entry: entry.kind == "metric", entries)) or entries[:1]
        content = batch[0].content
        match batch[0].kind:
            case "metric":
                client.log_values(run_id, [entry.content for entry in batch])
            case "tags":
                client.log(run_id, tags=content)
            case "evaluation":
                client.log_scores(run_id, **content)
            case "text":
                client.log_text(run_id, **content)
            case "status" if content["status"] == "RUNNING":
                client.update_run(run_id, **content)
            case "status":
                client.set_terminated(run_id, **content)
        for _ in batch:
            unsent.popleft()


def write_journal(file: Path, store: str, run_id: str, unsent: deque[Entry]) -> None:
    """Write the entries of a run. store: the address of its store, without a password."""
    entries = [[entry.kind, dict(entry.content)] for entry in list(unsent)]
    with replacing(file) as partial:
        partial.write_text(json.dumps({"store": store, "run": run_id, "entries": entries}, default=_encode_image))


def read_journal(file: Path) -> tuple[str, str, deque[Entry]]:
    """Return the store, the run and its entries; no entries if there is no file."""
    if not file.exists():
        return "", "", deque()
    found = json.loads(file.read_text(), object_hook=_decode_image)
    return found["store"], found["run"], deque(Entry(kind, content) for kind, content in found["entries"])


def bring_journal(store: Store, folder: Path) -> None:
    """Put the records that wait at an address into a trial's folder, beside those that wait there already."""
    theirs, file = store.read_sealed(JOURNAL), folder / JOURNAL
    with replacing(file) as partial:
        partial.write_bytes(merged_journals(file.read_bytes() if file.exists() else b"", theirs))


def merged_journals(here: bytes, elsewhere: bytes) -> bytes:
    """Return the journal of one trial that two nodes have written: each entry once, those of this node first.

    Journals of different runs have nothing in common: the one of elsewhere, where the trial was last, is returned.
    """
    if not here:
        return elsewhere
    ours, theirs = json.loads(here), json.loads(elsewhere)
    if ours["run"] != theirs["run"]:
        return elsewhere
    known = [json.dumps(entry) for entry in theirs["entries"]]
    own = [entry for entry in ours["entries"] if json.dumps(entry) not in known]
    return json.dumps({**theirs, "entries": [*own, *theirs["entries"]]}).encode()


def _encode_image(image: Any) -> dict[str, str]:
    _, encoded = cv2.imencode(".png", image[..., ::-1])
    return {"png": base64.b64encode(encoded.tobytes()).decode()}


def _decode_image(found: dict[str, Any]) -> Any:
    if found.keys() != {"png"}:
        return found
    encoded = np.frombuffer(base64.b64decode(found["png"]), np.uint8)
    image: Any = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    return image[..., ::-1]
