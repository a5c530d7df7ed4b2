"""The data sets, made from tiny archives and folders of their layout; the published numbers hold for the true ones."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import yaml
from archive_server import Server, server, zipped
from PIL import Image

from pipeline.data.catalog import DATASETS, Downloadable, fetch_dataset
from pipeline.errors import UserError

__all__ = ["server"]
SPLITS = ("trainA", "trainB", "testA", "testB")


def png(seed: int, size: tuple[int, int] = (5, 4), mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


def archive(counts: tuple[int, ...] = (3, 4, 2, 2), inside: str = "horse2zebra/") -> bytes:
    files = [f"{split}/{n}.png" for split, count in zip(SPLITS, counts, strict=False) for n in range(count)]
    extras = {f"{inside}trainA/.DS_Store": b"x", "__MACOSX/trainA/._1.png": b"x", f"{inside}readme.txt": b"x"}
    return zipped({f"{inside}{file}": png(number) for number, file in enumerate(files)} | extras)


class Publish(Protocol):
    def __call__(self, name: str, *counts: tuple[int, int, int, int]) -> None: ...


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Give a known data set other published counts, and no digest."""

    def change(name: str, *counts: tuple[int, int, int, int]) -> None:
        releases = {count: "" if number == 0 else "another version" for number, count in enumerate(counts)}
        digest = {"sha256": None} if isinstance(DATASETS[name], Downloadable) else {}
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], releases=releases, **digest))

    return change


def held(folder: Path) -> dict[str, list[str]]:
    return {split.name: sorted(file.name for file in split.iterdir()) for split in sorted(folder.iterdir())}


def refused(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        fetch_dataset(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_fetched_set_lies_whole_in_its_four_folders(server: Server, tmp_path: Path, publish: Publish) -> None:
    server.content = archive()
    publish("horse2zebra", (3, 4, 2, 2))
    said = fetch_dataset("horse2zebra", tmp_path, url=server.url)
    target = tmp_path / "horse2zebra"
    assert f"{target}: trainA 3, trainB 4, testA 2, testB 2 (as published)" in said
    assert said.endswith(f"just sweep ablation_negatives task=horse2zebra data.root={target}")
    names = {split: [f"{n}.png" for n in range(count)] for split, count in zip(SPLITS, (3, 4, 2, 2), strict=True)}
    assert held(target) == names
    assert (target / "trainB/0.png").read_bytes() == png(3)
    assert not list(tmp_path.glob("*.partial*"))


def test_the_usual_place_needs_no_data_root(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Publish
) -> None:
    monkeypatch.chdir(tmp_path)
    server.content = archive(inside="")
    publish("horse2zebra", (3, 4, 2, 2))
    said = fetch_dataset("horse2zebra", Path("datasets"), url=server.url)
    assert said.endswith("just sweep ablation_negatives task=horse2zebra")


def test_a_set_that_is_there_is_counted_and_left_alone(server: Server, tmp_path: Path, publish: Publish) -> None:
    server.content = archive()
    publish("horse2zebra", (3, 4, 2, 2))
    fetch_dataset("horse2zebra", tmp_path, url=server.url)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said = fetch_dataset("horse2zebra", tmp_path, url=server.url)
    assert said.startswith(f"already there: {tmp_path}/horse2zebra: trainA 3,")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert len(server.asked) == 1

    (tmp_path / "horse2zebra/testA/1.png").unlink()
    said = refused("horse2zebra", tmp_path, url=server.url)
    assert f"{tmp_path}/horse2zebra: 1 images for testA found, 2 expected" in said
    assert (tmp_path / "horse2zebra/testA/0.png").exists()


@pytest.mark.parametrize("name", ["horse2zebra", "cat2dog"])
def test_anything_else_at_the_place_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    assert "0 images for trainA found" in refused(name, tmp_path, tmp_path if name == "cat2dog" else None)
    assert [path.name for path in tmp_path.rglob("*")] == [name, "mine.txt"]


def test_an_archive_with_other_counts_leaves_no_data_set(server: Server, tmp_path: Path, publish: Publish) -> None:
    server.content = archive((3, 3, 2, 2))
    publish("horse2zebra", (3, 4, 2, 2))
    said = refused("horse2zebra", tmp_path, url=server.url)
    assert f"{tmp_path}/horse2zebra.zip: 3 images for trainB found, 4 expected" in said
    assert not (tmp_path / "horse2zebra").exists()


def test_a_mirrors_file_must_have_the_published_digest(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    said = refused("horse2zebra", tmp_path, url=server.url)
    assert "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1" in said
    assert hashlib.sha256(server.content).hexdigest() in said
    assert (tmp_path / "horse2zebra.zip").read_bytes() == server.content
    assert not (tmp_path / "horse2zebra").exists()


def test_an_archive_that_lies_there_is_not_fetched(tmp_path: Path, publish: Publish) -> None:
    (tmp_path / "horse2zebra.zip").write_bytes(archive())
    publish("horse2zebra", (3, 4, 2, 2))
    assert "trainA 3" in fetch_dataset("horse2zebra", tmp_path, url="http://127.0.0.1:1/")


def test_what_a_crash_left_half_unpacked_is_replaced(tmp_path: Path, publish: Publish) -> None:
    (tmp_path / "horse2zebra.zip").write_bytes(archive())
    (tmp_path / ".horse2zebra.0a1b2c3d.partial/trainA").mkdir(parents=True)
    (tmp_path / ".horse2zebra.0a1b2c3d.partial/trainA/99.png").write_bytes(b"half")
    publish("horse2zebra", (3, 4, 2, 2))
    fetch_dataset("horse2zebra", tmp_path)
    assert len(held(tmp_path / "horse2zebra")["trainA"]) == 3
    assert not (tmp_path / ".horse2zebra.0a1b2c3d.partial").exists()


def test_without_test_images_the_training_images_are_tested_on(tmp_path: Path, publish: Publish) -> None:
    (tmp_path / "grumpifycat.zip").write_bytes(archive((2, 3), "grumpifycat/"))
    publish("grumpifycat", (2, 3, 2, 3))
    fetch_dataset("grumpifycat", tmp_path)
    files = held(tmp_path / "grumpifycat")
    assert files["testA"] == files["trainA"] and files["testB"] == files["trainB"]
    assert (tmp_path / "grumpifycat/testB/1.png").read_bytes() == (tmp_path / "grumpifycat/trainB/1.png").read_bytes()


def make_afhq(root: Path, tests: str = "val", counts: tuple[int, int, int, int] = (3, 2, 2, 2)) -> Path:
    places = ("train/cat", "train/dog", f"{tests}/cat", f"{tests}/dog")
    for seed, (place, count) in enumerate(zip((*places, "train/wild"), (*counts, 1), strict=True)):
        (root / place).mkdir(parents=True)
        for number in range(count):
            (root / place / f"flickr_{number:06}.png").write_bytes(png(10 * seed + number))
    return root


@pytest.mark.parametrize(("inside", "tests"), [(".", "val"), ("afhq", "val"), ("afhq_v2", "test")])
def test_cats_and_dogs_are_copied_as_they_are(tmp_path: Path, inside: str, tests: str, publish: Publish) -> None:
    source = make_afhq(tmp_path / "got" / inside, tests)
    publish("cat2dog", (3, 2, 2, 2))
    fetch_dataset("cat2dog", tmp_path, tmp_path / "got")
    for split, place in zip(SPLITS, ("train/cat", "train/dog", f"{tests}/cat", f"{tests}/dog"), strict=True):
        copied = {file.name: file.read_bytes() for file in (tmp_path / "cat2dog" / split).iterdir()}
        assert copied == {file.name: file.read_bytes() for file in (source / place).iterdir()}


@pytest.mark.parametrize("name", [".hidden.jpg", "._0.jpg"])
def test_hidden_files_of_afhq_are_left_out(tmp_path: Path, publish: Publish, name: str) -> None:
    source = make_afhq(tmp_path / "got")
    (source / "train/cat" / name).write_bytes(b"\0\5\x16\7")
    publish("cat2dog", (3, 2, 2, 2))
    assert "trainA 3" in fetch_dataset("cat2dog", tmp_path, source)


def test_an_endless_device_among_the_files_is_refused_by_name(tmp_path: Path, publish: Publish) -> None:
    source = make_afhq(tmp_path / "got")
    (source / "train/cat/endless.jpg").symlink_to("/dev/zero")
    publish("cat2dog", (4, 2, 2, 2))
    assert "endless.jpg: cannot be read (no regular file)" in refused("cat2dog", tmp_path, source)
    assert not (tmp_path / "cat2dog").exists()


def test_hidden_files_of_cityscapes_are_left_out(tmp_path: Path, publish: Publish) -> None:
    source = make_cityscapes(tmp_path / "got", {"train": 3, "val": 2, "test": 1})
    (source / "gtFine/train/aachen/._aachen_0_gtFine_color.png").write_bytes(b"\0\5\x16\7")
    publish("cityscapes", (3, 3, 2, 2))
    assert "trainA 3" in fetch_dataset("cityscapes", tmp_path, source)


def test_the_second_afhq_is_told_from_the_papers(tmp_path: Path, publish: Publish) -> None:
    make_afhq(tmp_path / "got", "test", (2, 2, 2, 1))
    publish("cat2dog", (3, 2, 2, 2), (2, 2, 2, 1))
    said = fetch_dataset("cat2dog", tmp_path, tmp_path / "got")
    assert "(as published; another version)" in said


def make_cityscapes(root: Path, phases: Mapping[str, int]) -> Path:
    for phase, count in phases.items():
        for number in range(count):
            city = ("aachen", "bochum")[number % 2]
            for kind, end, mode in (("gtFine", "gtFine_color", "RGBA"), ("leftImg8bit", "leftImg8bit", "RGB")):
                folder = root / kind / phase / city
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{city}_{number:06}_000019_{end}.png").write_bytes(png(number, (64, 32), mode))
                if kind == "gtFine":
                    (folder / f"{city}_{number:06}_000019_gtFine_labelIds.png").write_bytes(png(number))
    return root


def test_labels_and_photographs_are_paired_by_name_and_resized_by_the_references_filter(
    tmp_path: Path, publish: Publish
) -> None:
    source = make_cityscapes(tmp_path / "got", {"train": 3, "val": 2, "test": 1})
    publish("cityscapes", (3, 3, 2, 2))
    fetch_dataset("cityscapes", tmp_path, source)
    files = held(tmp_path / "cityscapes")
    assert files["trainA"] == files["trainB"]
    assert files["testA"] == files["testB"] == ["aachen_000000_000019.png", "bochum_000001_000019.png"]
    for split, place in (("testA", "gtFine/val"), ("testB", "leftImg8bit/val")):
        (original,) = (path for path in (source / place / "bochum").iterdir() if "labelIds" not in path.name)
        with Image.open(original) as image, Image.open(tmp_path / "cityscapes" / split / files[split][1]) as made:
            expected = image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
            assert made.mode == "RGB" and np.array_equal(np.asarray(made), np.asarray(expected))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("gtFine/val/bochum/bochum_000001_000019_gtFine_color.png", "bochum_000001_000019_leftImg8bit.png: has no"),
        ("leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", "has no partner aachen_000000_000019_leftI"),
    ],
)
def test_an_image_without_its_partner_is_named(tmp_path: Path, spoil: str, said: str) -> None:
    source = make_cityscapes(tmp_path / "got", {"train": 2, "val": 2})
    (source / spoil).unlink()
    assert said in refused("cityscapes", tmp_path, source)
    assert not (tmp_path / "cityscapes").exists()


def test_a_photograph_that_cannot_be_read_leaves_no_data_set(tmp_path: Path, publish: Publish) -> None:
    source = make_cityscapes(tmp_path / "got", {"train": 2, "val": 2})
    torn = source / "leftImg8bit/val/bochum/bochum_000001_000019_leftImg8bit.png"
    torn.write_bytes(torn.read_bytes()[:200])
    publish("cityscapes", (2, 2, 2, 2))
    assert "cannot be read as an image" in refused("cityscapes", tmp_path, source)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["got"]


def test_folders_that_cannot_serve_are_refused_in_one_line(tmp_path: Path) -> None:
    got = make_cityscapes(tmp_path / "got", {"train": 2})
    assert "got: there is no gtFine/val" in refused("cityscapes", tmp_path, got)
    assert "got: there is no train/cat" in refused("cat2dog", tmp_path, got)
    assert "nowhere: no such folder. --from must point to the unpacked AFHQ" in refused(
        "cat2dog", tmp_path, tmp_path / "nowhere"
    )
    make_afhq(tmp_path / "both/afhq")
    assert "both/afhq: 3 images for trainA found, 5153 expected" in refused("cat2dog", tmp_path, tmp_path / "both/afhq")
    make_afhq(tmp_path / "both/afhq_v2", "test")
    assert "both/afhq_v2/train/cat. Point --from to one" in refused("cat2dog", tmp_path, tmp_path / "both")
    (tmp_path / "both/afhq/train/dog").rename(tmp_path / "dog")
    assert "train/dog: no such folder" in refused("cat2dog", tmp_path, tmp_path / "both/afhq")


def test_commands_that_cannot_be_meant_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "no data set is called 'cats2dog'; did you mean cat2dog?" in refused("cats2dog", tmp_path)
    assert f"{tmp_path}/horse2zebra.zip" in refused("horse2zebra", tmp_path, tmp_path)
    assert "cityscapes has no address" in refused("cityscapes", tmp_path, None, "http://127.0.0.1/")
    said = refused("cat2dog", Path("datasets"))
    assert "https://github.com/clovaai/stargan-v2" in said and "just data cat2dog --from FOLDER (FOLDER: the" in said
    assert f"--from FOLDER --to {tmp_path} (FOLDER" in refused("cityscapes", tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_commands_do_not_prepare_one_set_at_once(tmp_path: Path) -> None:
    (tmp_path / "horse2zebra.zip").write_bytes(archive())
    code = (
        "import sys, filelock\n"
        f"with filelock.FileLock({str(tmp_path / '.horse2zebra.lock')!r}):\n    print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        assert "another command is preparing it" in refused("horse2zebra", tmp_path)
        other.communicate(b"\n")


@pytest.mark.parametrize("name", DATASETS)
def test_tasks_expect_what_is_published_where_it_is_put(name: str) -> None:
    file = Path(__file__).parents[3] / f"pipeline/config/groups/task/{name}.yaml"
    data = yaml.safe_load(file.read_text(encoding="utf-8"))["data"]
    assert (data["name"], data["root"]) == (name, f"datasets/{name}")
    assert tuple(data["expected_images"]) == next(iter(DATASETS[name].releases))
