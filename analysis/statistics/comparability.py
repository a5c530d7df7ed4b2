"""Which scores may be held against each other: those that were taken in the same way; pure."""

from collections import Counter

from analysis.records.schema import SweepRecord

# What scores must share to be comparable: the tag, and what a reader calls it.
SHARED = {
    **{name: name for name in ("extractor", "weights", "layer", "resize", "arithmetic")},
    **{"image_size": "images' size", "images_a": "images of A", "images_b": "images of B"},
    **{"kid_subset_size": "KID's subsets", "vgg16": "VGG16's weights", "lpips-vgg16": "LPIPS's weights"},
    **{"dinov2-vit-l-14": "DINOv2's weights", "segmenter": "segmentation network"},
    **{"result_version": "result version"},
}


def taken_otherwise(record: SweepRecord) -> set[str]:
    """The rows whose scores were not all taken as the default row's were."""
    ways: dict[str, set[tuple[str, ...]]] = {row.row: set() for row in record.rows}
    for trial in record.finished:
        ways[trial["row"]].add(tuple(trial[tag] for tag in SHARED))
    default = ways[record.default]
    alike = len(default) <= 1
    return {row for row, of_row in ways.items() if of_row and default and not (alike and of_row == default)}


def told(record: SweepRecord, tag: str) -> str:
    """The values of a tag among the finished trials, in the order of the alphabet."""
    return ", ".join(sorted({trial[tag] for trial in record.finished if trial[tag]}))


def differing(record: SweepRecord) -> list[str]:
    """What finished trials do not share, with its values and the number of their trials."""
    found: list[str] = []
    for tag, name in SHARED.items():
        counts = Counter(trial[tag] for trial in record.finished if trial[tag])
        if len(counts) > 1:
            found.append(f"{name} ({', '.join(f'{value} in {count}' for value, count in counts.items())})")
    return found
