import hashlib
import json
from dataclasses import replace

from analysis.records.schema import Manifest, SweepRow, read_manifest

ROWS = (SweepRow("a", "Fig. 4", {0: "k0", 1: "k1"}, {"model.temperature": 0.07}), SweepRow("b", "", {0: "k2"}, {}))
MANIFEST = Manifest(
    *("mine", "Which?", "stripes", "a", ROWS, "3"),
    axes=("model.temperature",),
    overrides=("train.batch_size=2",),
    command=("train.batch_size=2", "compute.device=cpu"),
    file="mine.yaml",
)
# What is hashed. Another form of it would record every earlier sweep again.
HASHED = {
    **{"sweep": "mine", "question": "Which?", "task": "stripes", "default": "a", "result_version": "3"},
    **{"axes": ["model.temperature"], "base": [], "overrides": ["train.batch_size=2"], "price_per_hour": None},
    "rows": [
        {"row": "a", "paper": "Fig. 4", "keys": {"0": "k0", "1": "k1"}, "settings": {"model.temperature": 0.07}},
        {"row": "b", "paper": "", "keys": {"0": "k2"}, "settings": {}},
    ],
}


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(json.loads(json.dumps(MANIFEST.to_dict()))) == MANIFEST


def test_the_digest_is_that_of_earlier_versions() -> None:
    assert MANIFEST.digest() == hashlib.sha256(json.dumps(HASHED, sort_keys=True).encode()).hexdigest()[:16]


def test_how_the_command_was_written_does_not_change_the_digest() -> None:
    assert replace(MANIFEST, command=(), file="").digest() == MANIFEST.digest()
    assert replace(MANIFEST, overrides=()).digest() != MANIFEST.digest()
