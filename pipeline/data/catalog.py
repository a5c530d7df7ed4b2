"""The data sets of the paper: where each comes from, how many images it has, and how its files become trainA, trainB,
testA and testB."""

import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from rich.console import Console

from pipeline.data.dataset_cache import SPLITS
from pipeline.data.download import AGAIN, PATIENCE, Patience, check_digest, download, following, read_entries, unpack
from pipeline.data.image_io import SUFFIXES, image_files, read_image, resize, with_channels, write_png
from pipeline.errors import UserError, nearest
from pipeline.files import remove_leftovers, replacing

CITYSCAPES_SIZE = (256, 256)
LABELS_END, PHOTOGRAPHS_END = "_gtFine_color.png", "_leftImg8bit.png"


@dataclass(frozen=True)
class Release:
    """A published state of a data set: its images in trainA, trainB, testA and testB, and what is to be known of it."""

    name: str
    counts: tuple[int, int, int, int]
    remark: str = ""


@dataclass(frozen=True)
class Fetched:
    """One zip at an address. Without tests the training images are tested on, as the reference code does."""

    address: str
    sha256: str | None
    releases: tuple[Release, ...]
    has_tests: bool = True


@dataclass(frozen=True)
class Brought:
    """What its owners hand out themselves, or after a licence is agreed to; `folder` is what --from must point to."""

    page: str
    folder: str
    releases: tuple[Release, ...]


DATASETS: dict[str, Fetched | Brought] = {
    "horse2zebra": Fetched(
        # The address: the CycleGAN code's download_cyclegan_dataset.sh. The counts: TensorFlow Datasets' catalogue.
        "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/horse2zebra.zip",
        # TensorFlow Datasets, url_checksums/cycle_gan.txt: 116867962 bytes.
        "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        (Release("horse2zebra", (1067, 1334, 120, 140)),),
    ),
    "grumpifycat": Fetched(
        # The CUT code's script names a server that has left; the file is where github.com/JunlinHan/DCLGAN/issues/20
        # says. No SHA-256 of it is published. The counts: the CUT code's docs/datasets.md; that there are no tests and
        # that the training images stand in for them: its experiments/grumpifycat_launcher.py.
        "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/grumpifycat.zip",
        None,
        (Release("grumpifycat", (88, 214, 88, 214), "there are no test images, testA and testB repeat the others"),),
        has_tests=False,
    ),
    "cat2dog": Brought(
        "https://github.com/clovaai/stargan-v2",
        "the unpacked AFHQ, with train/cat, train/dog, val/cat and val/dog in it",
        (
            # The paper's appendix; the whole of AFHQ, with the wild animals, has 16130 images.
            Release("AFHQ", (5153, 4739, 500, 500)),
            # As public loaders list them; the whole of AFHQ v2 has 15803 images.
            Release("AFHQ v2", (5065, 4678, 493, 491), "this is AFHQ v2, the paper's distances are of the first AFHQ"),
        ),
    ),
    "cityscapes": Brought(
        "https://www.cityscapes-dataset.com",
        "the folder in which gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip are unpacked",
        (Release("Cityscapes", (2975, 2975, 500, 500)),),
    ),
}


def fetch_dataset(
    name: str,
    root: Path,
    source: Path | None = None,
    url: str | None = None,
    *,
    known: Mapping[str, Fetched | Brought] = DATASETS,
    console: Console | None = None,
    patience: Patience = PATIENCE,
) -> str:
    """Bring a data set to root/name, whole or not at all, and say where it lies, what it holds and what to do next.

    source: the folder that a data set which is not fetched is made from. url: another address of the archive. A data
    set that is there already is counted and left alone. Raises UserError for what the user must mend; nothing that was
    there is removed.
    """
    if name not in known:
        raise UserError(f"no data set is called {name!r}; {nearest(name, known)}")
    dataset, target, console = known[name], root / name, console or Console()
    if target.exists():
        release = _release(target, _count(target), dataset, "move it away and run this again")
        return f"already there: {_told(target, release)}"
    match dataset:
        case Fetched() if source:
            raise UserError(f"{name} is fetched, --from has no use; put an archive you have at {target}.zip")
        case Fetched():
            release = _fetch(dataset, target, url or dataset.address, console, patience)
        case Brought() if url:
            raise UserError(f"{name} has no address that --url could replace; get it from {dataset.page}, give --from")
        case Brought() if source:
            release = _bring(dataset, target, source, console)
        case Brought():
            to = "" if root == Path("datasets") else f" --to {shlex.quote(str(root))}"
            mend = f"get it from {dataset.page}, then: just data {name} --from FOLDER{to}"
            raise UserError(f"{name} is handed out by its owners alone; {mend} (FOLDER: {dataset.folder})")
    return _told(target, release)


def _fetch(dataset: Fetched, target: Path, url: str, console: Console, patience: Patience) -> Release | None:
    archive = target.with_name(f"{target.name}.zip")
    with _alone(target):
        if not archive.exists():
            download(url, archive, console, patience)
        check_digest(archive, dataset.sha256)
        entries = read_entries(archive, _place_of)
        if not dataset.has_tests and not any(place.parts[0].startswith("test") for place in entries):
            entries |= {PurePosixPath(f"test{place.parts[0][-1]}", place.name): entries[place] for place in entries}
        release = _release(archive, _counts(entries), dataset, AGAIN)
        with _new_folder(target) as folder:
            unpack(archive, entries, folder)
    return release


def _place_of(entry: PurePosixPath) -> PurePosixPath | None:
    """Images of a split, however deep; not what macOS adds to archives, read-me files and the like."""
    if "__MACOSX" in entry.parts or entry.name.startswith(".") or entry.suffix.lower() not in SUFFIXES:
        return None
    return PurePosixPath(entry.parent.name, entry.name) if entry.parent.name in SPLITS else None


def _bring(dataset: Brought, target: Path, source: Path, console: Console) -> Release | None:
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; --from must point to {dataset.folder}")
    match target.name:
        case "cat2dog":
            sources, write = _afhq(source), shutil.copyfile
        case "cityscapes":
            sources, write = _cityscapes(source), _write_resized
        case unknown:
            raise AssertionError(f"nothing lays out {unknown!r}")
    release = _release(source, _counts(sources), dataset, f"--from must point to {dataset.folder}")
    with _alone(target), _new_folder(target) as folder, following(target.name, "images", console) as follow:
        for number, (place, file) in enumerate(sources.items(), 1):
            (folder / place).parent.mkdir(exist_ok=True)
            write(file, folder / place)
            follow(number, len(sources))
    return release


def _afhq(source: Path) -> dict[PurePosixPath, Path]:
    """What becomes of which file, as it is. A: cats, B: dogs. The first AFHQ calls its tests val, the second test."""
    base = _below(source, "train/cat").parents[1]
    tests = "test" if (base / "test").is_dir() and not (base / "val").is_dir() else "val"
    found: dict[PurePosixPath, Path] = {}
    for split, inside in zip(SPLITS, ("train/cat", "train/dog", f"{tests}/cat", f"{tests}/dog"), strict=True):
        if not (base / inside).is_dir():
            raise UserError(f"{base / inside}: no such folder; unpack AFHQ whole")
        found |= {PurePosixPath(split, file.name): file for file in image_files(base / inside)}
    return found


def _cityscapes(source: Path) -> dict[PurePosixPath, Path]:
    """What becomes of which file. A: colour-coded labels, B: photographs, both at 256 x 256; val becomes test.

    Follows the reference code's prepare_cityscapes_dataset.py: which files, the size regardless of their shape, and the
    filter, which is Pillow's default since its version 7 (before, it took the nearest pixel). It differs in three
    points: the script's A are the photographs, and label -> photograph is then trained with --direction BtoA; it writes
    JPEG of quality 100, here it is PNG, which adds no errors of its own; it numbers its files, here they keep
    Cityscapes' names, so that a pair has one name. The images side by side, for pix2pix, are left out.
    """
    found: dict[PurePosixPath, Path] = {}
    for phase, split in (("train", "train"), ("val", "test")):
        labels, photographs = (
            {file.name.removesuffix(end): file for file in sorted(_below(source, f"{kind}/{phase}").glob(f"*/*{end}"))}
            for kind, end in (("gtFine", LABELS_END), ("leftImg8bit", PHOTOGRAPHS_END))
        )
        for key in sorted(labels.keys() ^ photographs.keys()):
            lone, lacking = (labels[key], PHOTOGRAPHS_END) if key in labels else (photographs[key], LABELS_END)
            raise UserError(f"{lone}: has no partner {key}{lacking}; unpack both archives whole")
        for domain, files in (("A", labels), ("B", photographs)):
            found |= {PurePosixPath(f"{split}{domain}", f"{key}.png"): file for key, file in files.items()}
    return found


def _write_resized(source: Path, target: Path) -> None:
    write_png(target, resize(with_channels(read_image(source), 3), CITYSCAPES_SIZE))


def _below(source: Path, wanted: str) -> Path:
    """The wanted folder, in the source or one further down. Raises UserError where there is none, or several."""
    found = [path for path in (source / wanted, *sorted(source.glob(f"*/{wanted}"))) if path.is_dir()]
    if not found:
        raise UserError(f"{source}: holds no {wanted}, nor does a folder in it; unpack the archives whole")
    if len(found) > 1:
        raise UserError(f"{source}: holds {found[0]} and {found[1]}; point --from at one of the two")
    return found[0]


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Two commands at once would write into each other's parts."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise UserError(f"{target}: another command is preparing it; wait for that one") from None


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    remove_leftovers(target)
    with replacing(target) as folder:
        folder.mkdir()
        yield folder


def _count(folder: Path) -> dict[str, int]:
    splits = [folder / split for split in SPLITS if (folder / split).is_dir()]
    return _counts(PurePosixPath(split.name, file.name) for split in splits for file in image_files(split))


def _counts(places: Iterable[PurePosixPath]) -> dict[str, int]:
    found = Counter(place.parts[0] for place in places)
    return {split: found[split] for split in SPLITS}


def _release(place: Path, counts: dict[str, int], dataset: Fetched | Brought, mend: str) -> Release | None:
    """Which release has these counts; None where none is known. Raises UserError for counts of no release."""
    found = tuple(counts.values())
    for release in dataset.releases:
        if release.counts == found:
            return release
    expected = dataset.releases[0].counts if dataset.releases else tuple(max(count, 1) for count in found)
    for split, count, wanted in zip(SPLITS, found, expected, strict=True):
        if count != wanted:
            raise UserError(f"{place}: {count} images for {split} found, {wanted} expected; {mend}")
    return None


def _told(target: Path, release: Release | None) -> str:
    held = ", ".join(f"{split} {count}" for split, count in _count(target).items())
    known = "counts not checked, none are known"
    if release:
        known = f"as published{f'; {release.remark}' if release.remark else ''}"
    place = "" if target.parent == Path("datasets") else f" {shlex.quote(f'data.root={target}')}"
    return f"{target}: {held} ({known}); next: just sweep ablation_negatives task={target.name}{place}"
