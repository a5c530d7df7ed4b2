"""Data sets at a real S3 server: decoded ones are fetched once by each node, and folders of images are mirrored."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.compose import compose_surroundings
from pipeline.config.schema import Config
from pipeline.data import staging
from pipeline.data.dataset_cache import open_dataset, prepare
from pipeline.data.image_io import write_png
from pipeline.data.staging import fetch_entry, put_entry
from pipeline.errors import UserError
from pipeline.storage.faults import StoreError
from pipeline.storage.store import Store


@pytest.fixture
def entry(tmp_path: Path, tiny: Callable[..., Config]) -> Path:
    return prepare(tiny().data, tmp_path / "cache").folder


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that are fetched."""
    names: list[str] = []
    fetch = Store.fetch

    def counted(store: Store, name: str, target: Path, size: int = 0) -> None:
        names.append(name)
        fetch(store, name, target, size)

    monkeypatch.setattr(Store, "fetch", counted)
    return names


def test_trials_that_start_at_once_fetch_a_data_set_once(
    s3: str, entry: Path, tmp_path: Path, fetches: list[str]
) -> None:
    put_entry(entry, s3)
    here = tmp_path / "node/data" / entry.name
    trials = [threading.Thread(target=fetch_entry, args=(s3, here)) for _ in range(3)]
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.join()
    assert sorted(fetches) == sorted(file.name for file in entry.iterdir())
    assert {file.name: file.read_bytes() for file in here.iterdir()} == {
        file.name: file.read_bytes() for file in entry.iterdir()
    }
    assert isinstance(open_dataset(here).train_a, np.memmap)


def test_a_data_set_is_put_once(s3: str, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_entry(entry, s3)
    monkeypatch.setattr(Store, "put", lambda *_: pytest.fail("it is there already"))
    put_entry(entry, s3)


def test_a_damaged_download_is_fetched_again(
    s3: str, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_entry(entry, s3)
    fetch, damaged = Store.fetch, list[str]()

    def torn(store: Store, name: str, target: Path, size: int = 0) -> None:
        fetch(store, name, target, size)
        if name not in damaged:
            damaged.append(name)
            target.write_bytes(target.read_bytes()[:-1])

    monkeypatch.setattr(Store, "fetch", torn)
    here = tmp_path / "node" / entry.name
    fetch_entry(s3, here)
    assert capsys.readouterr().err.count("its checksum differs. Fetching it again.") == len(damaged) > 0
    assert (here / "train_a.npy").read_bytes() == (entry / "train_a.npy").read_bytes()


def test_a_damaged_object_is_never_used(s3: str, entry: Path, tmp_path: Path) -> None:
    put_entry(entry, s3)
    Store(s3).write("train_b.npy", b"other")
    here = tmp_path / "node" / entry.name
    with pytest.raises(StoreError, match=r"train_b.npy: it was damaged 3 times"):
        fetch_entry(s3, here)
    assert list(here.parent.glob("*.npy")) == [] and not here.exists()
    put_entry(entry, s3)  # its size differs, so the next sweep puts it again
    fetch_entry(s3, here)
    manifest = json.loads(Store(s3).read_sealed(staging.MANIFEST))
    assert manifest.keys() == {file.name for file in here.iterdir()}


def test_images_at_an_address_are_copied_once_and_when_they_change(s3: str, tmp_path: Path, fetches: list[str]) -> None:
    images = {f"{split}/{number}.png": number for split in ("trainA", "trainB", "testA", "testB") for number in (1, 2)}
    local = tmp_path / "images"
    for name, shade in images.items():
        write_png(local / name, np.full((32, 32, 3), shade, np.uint8))
        Store(s3).put(local / name, name)
    Store(s3).write("readme.txt", b"not an image")
    settings = ("task=folder", "data.load_size=32", "data.size=32", "data.name=mine", f"paths.cache={tmp_path}/cache")
    at_address, here = (compose_surroundings([*settings, f"data.root={root}"]) for root in (s3, local))
    found = prepare(at_address.data, tmp_path / "cache")
    assert found.fingerprint == prepare(here.data, tmp_path / "other").fingerprint
    assert sorted(fetches) == sorted(images)
    fetches.clear()
    write_png(local / "new.png", np.full((32, 32, 3), 9, np.uint8))
    Store(s3).put(local / "new.png", "testB/2.png")
    Store(s3).delete("trainA/2.png")
    Store(s3).put(local / "new.png", "trainA/3.png")
    assert prepare(at_address.data, tmp_path / "cache").fingerprint != found.fingerprint
    assert sorted(fetches) == ["testB/2.png", "trainA/3.png"]

    Store(s3).write("trainA/3.png", b"no image")
    with pytest.raises(UserError, match=f"{s3}/trainA/3.png"):
        prepare(at_address.data, tmp_path / "cache")
    Store(s3).delete("testA/1.png")
    Store(s3).delete("testA/2.png")
    with pytest.raises(UserError, match=f"data.root={s3}: there are no images in testA/"):
        prepare(at_address.data, tmp_path / "cache")
