"""Each message that docs/troubleshooting.md quotes is the one that the code gives for such a fault."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checks.addresses import require_addresses
from pipeline.checks.ray_address import check_ray
from pipeline.config.compose import compose_config
from pipeline.config.sweep_file import expand, load_sweep
from pipeline.data.dataset_cache import list_images
from pipeline.data.decoding import decode
from pipeline.data.image_io import write_png
from pipeline.errors import UserError
from pipeline.hardware.allocation import share_of
from pipeline.hardware.device import find_machine, resolve_device
from pipeline.metrics.extractors import load_extractor
from pipeline.metrics.names import INCEPTION
from pipeline.tracking.store import Tracker, store_lock
from pipeline.trial.lock import claimed

PAGE = (Path(__file__).parent.parent / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^    error: (.*)$", PAGE, re.MULTILINE)
OWN = ["task=photos", "data.root=mine"]


def lock_twice() -> None:
    with claimed(Path("trials/a")), claimed(Path("trials/a")):
        pass


def need_memory() -> None:
    compute = compose_config(["compute.memory_gb=0.1", "compute.device=cpu"]).compute
    share_of(find_machine(compute), compute, 1.0, 1, live_gb=0.1)


def join_ray() -> None:
    raise UserError(str(check_ray("RAY_ADDRESS=127.0.0.1:9")))


def reach_storage() -> None:
    from s3_server import use_address

    with pytest.MonkeyPatch.context() as patch:
        use_address(patch, "http://127.0.0.1:9")
        require_addresses(["paths.trials=s3://bucket/trials"])


def tracker(uri: str) -> Tracker:
    return Tracker(uri, "mine", "", store_lock(uri, Path("trials")))


FAULTS: dict[str, Callable[[], object]] = {
    "weights": lambda: load_extractor(INCEPTION, None),
    "few images": lambda: list_images(Path("mine")),
    "sizes": lambda: decode([Path("mine/1.png")] * 2, (32, 32), 3, resizing=False),
    "small images": lambda: expand(load_sweep("photos"), [*OWN[1:], "data.size=16", "model.num_patches=16"]),
    "layers": lambda: expand(load_sweep("photos"), [*OWN[1:], "model.generator.blocks=4"]),
    "patches": lambda: expand(load_sweep("ablation_negatives"), [*OWN, "data.size=32", "model.num_patches=256"]),
    "memory": need_memory,
    "lock": lock_twice,
    "server": lambda: tracker("http://127.0.0.1:9").require_answer(),
    "store": lambda: tracker("nonsense://x").find_trials(),
    "storage": reach_storage,
    "driver": lambda: resolve_device("cuda"),
    "ray": join_ray,
}


@pytest.mark.parametrize(("quoted", "fault"), list(zip(QUOTED, FAULTS, strict=True)), ids=list(FAULTS))
def test_a_fault_has_the_message_of_the_page(project: Path, offline: Path, quoted: str, fault: str) -> None:
    if fault == "driver" and torch.cuda.is_available():
        pytest.skip("CUDA is here")
    write_png(Path("mine/1.png"), np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(UserError) as caught:
        FAULTS[fault]()
    pattern = ".*".join(map(re.escape, quoted.rstrip(" …").split("…")))
    assert any(re.match(pattern, found) for found in caught.value.faults), caught.value.faults
