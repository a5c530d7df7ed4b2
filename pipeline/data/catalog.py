"""The data sets of the paper: where to get each one, its numbers of images, and how to make trainA … testB from it."""

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import Timeout

from analysis.records.printable import printable
from analysis.records.progress import tracked
from pipeline.data.dataset_cache import SPLITS
from pipeline.data.download import AGAIN, download, unpack
from pipeline.data.image_io import (
    SUFFIXES,
    file_status,
    image_files,
    is_hidden,
    read_image,
    resize,
    with_channels,
    write_png,
)
from pipeline.errors import UserError, nearest
from pipeline.files import file_digest, remove_leftovers, replacing
from pipeline.locks import file_lock

CITYSCAPES_SIZE = (256, 256)
LABELS_END, PHOTOGRAPHS_END = "_gtFine_color.png", "_leftImg8bit.png"


# The numbers of images in trainA, trainB, testA and testB of each published version, and a remark.
Releases = dict[tuple[int, int, int, int], str]


@dataclass(frozen=True)
class Downloadable:
    """A data set that is one zip at an address. Without test images, the training images are the test images too, as in
    the reference code."""

    address: str
    sha256: str | None
    releases: Releases
    has_tests: bool = True


@dataclass(frozen=True)
class Manual:
    """A data set that the user must get from its owners, after accepting a licence or not.

    folder: what --from names. files: from that folder to the source of each file. write: from a source to its file.
    """

    page: str
    folder: str
    releases: Releases
    files: Callable[[Path], dict[PurePosixPath, Path]]
    write: Callable[[Path, Path], object]


def fetch_dataset(name: str, root: Path, source: Path | None = None, url: str | None = None) -> str:
    """Create root/name atomically, and return a sentence with its folder, its contents and the next command.

    source: the folder from which a manual data set is made. url: another address of the archive. The images of an
    existing data set are counted, and nothing is changed. Raises UserError if the user must do something.
    """
    if name not in DATASETS:
        raise UserError(f"no data set is called {name!r}; {nearest(name, DATASETS)}")
    dataset, target = DATASETS[name], root / name
    existed = target.exists()
    match dataset:
        case _ if existed:
            pass
        case Downloadable() if source:
            raise UserError(f"{name} is downloaded, without --from. To use your own archive, put it at {target}.zip")
        case Downloadable():
            _download(dataset, target, url or dataset.address)
        case Manual() if url:
            raise UserError(f"{name} has no address that --url could replace. Get it from {dataset.page}, give --from")
        case Manual() if source:
            _copy(dataset, target, source)
        case Manual():
            to = "" if root == Path("datasets") else f" --to {shlex.quote(str(root))}"
            steps = f"Get it from {dataset.page}, then: just data {name} --from FOLDER{to}"
            raise UserError(f"{name} is available only from its owners. {steps} (FOLDER: {dataset.folder})")
    counts = _count(target)
    remark = _remark(target, counts, dataset, "Move it away and run this command again")
    contents = ", ".join(f"{split} {count}" for split, count in counts.items())
    published = f"as published; {remark}" if remark else "as published"
    data_root = "" if root == Path("datasets") else f" {shlex.quote(f'data.root={target}')}"
    described = f"{target}: {contents} ({published}). Next: just sweep ablation_negatives task={name}{data_root}"
    return f"already there: {described}" if existed else described


def _download(dataset: Downloadable, target: Path, url: str) -> None:
    archive = target.with_name(f"{target.name}.zip")
    with _new_folder(target) as folder:
        if not archive.exists():
            download(url, archive)
        if dataset.sha256 and (found := file_digest(archive)) != dataset.sha256:
            raise UserError(f"{archive}: its SHA-256 is {found}, but the published file has {dataset.sha256}. {AGAIN}")
        unpack(archive, _path_in_data_set, folder)
        if not dataset.has_tests and not any(folder.glob("test?")):
            for train in sorted(folder.glob("train?")):
                shutil.copytree(train, folder / train.name.replace("train", "test"))
        _remark(archive, _count(folder), dataset, AGAIN)


def _path_in_data_set(entry: PurePosixPath) -> PurePosixPath | None:
    """Return SPLIT/NAME for an image in a split's folder, and None for other files, such as those that macOS adds."""
    if "__MACOSX" in entry.parts or entry.name.startswith(".") or entry.suffix.lower() not in SUFFIXES:
        return None
    return PurePosixPath(entry.parent.name, entry.name) if entry.parent.name in SPLITS else None


def _copy(dataset: Manual, target: Path, source: Path) -> None:
    if not source.is_dir():
        raise UserError(f"{source}: no such folder. --from must point to {dataset.folder}")
    files = dataset.files(source)
    _remark(source, _counts(files), dataset, f"--from must point to {dataset.folder}")
    with _new_folder(target) as folder:
        for path, file in tracked(files.items(), len(files), target.name):
            file_status(file)  # refuses pipes and devices
            (folder / path).parent.mkdir(exist_ok=True)
            dataset.write(file, folder / path)


def _afhq(source: Path) -> dict[PurePosixPath, Path]:
    """Return the source of each file. A: cats, B: dogs. The test folder of AFHQ is val, that of AFHQ v2 is test."""
    base = _below(source, "train/cat").parents[1]
    tests = "test" if (base / "test").is_dir() and not (base / "val").is_dir() else "val"
    found: dict[PurePosixPath, Path] = {}
    for split, inside in zip(SPLITS, ("train/cat", "train/dog", f"{tests}/cat", f"{tests}/dog"), strict=True):
        if not (base / inside).is_dir():
            raise UserError(f"{base / inside}: no such folder. Unpack all of AFHQ")
        found |= {PurePosixPath(split, file.name): file for file in image_files(base / inside)}
    return found


def _cityscapes(source: Path) -> dict[PurePosixPath, Path]:
    """Return the source of each file. A: colour-coded labels, B: photographs, both at 256 x 256. val becomes test.

    The files, the size regardless of their shape and the filter are those of the reference code's
    prepare_cityscapes_dataset.py. The filter is Pillow's default since version 7; before, it was the nearest pixel.
    Three things differ. The script's A are the photographs, and label -> photograph is then trained with --direction
    BtoA. It writes JPEG of quality 100; PNG has no compression errors. It numbers its files; here they keep Cityscapes'
    names, so that both files of a pair have one name. The pairs in one image, for pix2pix, are left out.
    """
    found: dict[PurePosixPath, Path] = {}
    for phase, split in (("train", "train"), ("val", "test")):
        labels, photographs = (
            {
                file.name.removesuffix(end): file
                for file in sorted(_below(source, f"{kind}/{phase}").glob(f"*/*{end}"))
                if not is_hidden(file)
            }
            for kind, end in (("gtFine", LABELS_END), ("leftImg8bit", PHOTOGRAPHS_END))
        )
        for key in sorted(labels.keys() ^ photographs.keys()):
            file, missing = (labels[key], PHOTOGRAPHS_END) if key in labels else (photographs[key], LABELS_END)
            raise UserError(
                f"{printable(file)}: has no partner {printable(key + missing)}. Unpack all of both archives"
            )
        for domain, files in (("A", labels), ("B", photographs)):
            found |= {PurePosixPath(f"{split}{domain}", f"{key}.png"): file for key, file in files.items()}
    return found


def _write_resized(source: Path, target: Path) -> None:
    write_png(target, resize(with_channels(read_image(source), 3), CITYSCAPES_SIZE))


def _below(source: Path, wanted: str) -> Path:
    """Find a folder in the source or in one of its folders. Raises UserError if there is none, or more than one."""
    found = [path for path in (source / wanted, *sorted(source.glob(f"*/{wanted}"))) if path.is_dir()]
    if not found:
        raise UserError(f"{source}: there is no {wanted} in it or in its folders. Unpack the whole archive")
    if len(found) > 1:
        raise UserError(f"{source}: contains {found[0]} and {found[1]}. Point --from to one of them")
    return found[0]


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Create the target atomically. Lock it, since two commands would write to one partial download."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(target.with_name(f".{target.name}.lock")).acquire(timeout=0):
            remove_leftovers(target)
            with replacing(target) as folder:
                folder.mkdir()
                yield folder
    except Timeout:
        raise UserError(f"{target}: another command is preparing it. Wait for it") from None


def _count(folder: Path) -> dict[str, int]:
    splits = [folder / split for split in SPLITS if (folder / split).is_dir()]
    return _counts(PurePosixPath(split.name, file.name) for split in splits for file in image_files(split))


def _counts(paths: Iterable[PurePosixPath]) -> dict[str, int]:
    found = Counter(path.parts[0] for path in paths)
    return {split: found[split] for split in SPLITS}


def _remark(source: Path, counts: dict[str, int], dataset: Downloadable | Manual, advice: str) -> str:
    """Return the remark on the version with these counts. Raises UserError for any other counts."""
    for known, remark in dataset.releases.items():
        if known == tuple(counts.values()):
            return remark
    expected: dict[str, int] = dict(zip(SPLITS, next(iter(dataset.releases)), strict=True))
    split = next(split for split in SPLITS if counts[split] != expected[split])
    raise UserError(f"{source}: {counts[split]} images for {split} found, {expected[split]} expected. {advice}")


DATASETS: dict[str, Downloadable | Manual] = {
    "horse2zebra": Downloadable(
        # The address: the CycleGAN code's download_cyclegan_dataset.sh. The counts: TensorFlow Datasets' catalogue.
        "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/horse2zebra.zip",
        # TensorFlow Datasets, url_checksums/cycle_gan.txt: 116867962 bytes.
        "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        {(1067, 1334, 120, 140): ""},
    ),
    "grumpifycat": Downloadable(
        # The server in the CUT code's script no longer exists. The address: github.com/JunlinHan/DCLGAN/issues/20. No
        # SHA-256 is published. The counts: the CUT code's docs/datasets.md. That the training images are used as test
        # images: its experiments/grumpifycat_launcher.py.
        "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/grumpifycat.zip",
        None,
        {(88, 214, 88, 214): "without test images: testA and testB repeat trainA and trainB"},
        has_tests=False,
    ),
    "cat2dog": Manual(
        "https://github.com/clovaai/stargan-v2",
        "the unpacked AFHQ, which contains train/cat, train/dog, val/cat and val/dog",
        {
            # The paper's appendix. All of AFHQ, with the wild animals, has 16130 images.
            (5153, 4739, 500, 500): "",
            # AFHQ v2, as public loaders list it. All of it has 15803 images.
            (5065, 4678, 493, 491): "this is AFHQ v2; the paper used the first AFHQ",
        },
        _afhq,
        shutil.copyfile,
    ),
    "cityscapes": Manual(
        "https://www.cityscapes-dataset.com",
        "the folder with the unpacked gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip",
        {(2975, 2975, 500, 500): ""},
        _cityscapes,
        _write_resized,
    ),
}
