"""Which scores are comparable: those that were measured in the same way; pure."""

from collections import Counter

from analysis.records.schema import SweepRecord

# Tags that must be equal for scores to be comparable, and their names for readers.
SHARED = {
    **{name: name for name in ("extractor", "weights", "layer", "resize", "arithmetic")},
    **{"image_size": "image size", "images_a": "images of A", "images_b": "images of B"},
    **{"kid_subset_size": "KID subset size", "vgg16": "VGG16 weights", "lpips-vgg16": "LPIPS weights"},
    **{"dinov2-vit-l-14": "DINOv2 weights", "segmenter": "segmentation network"},
    **{"result_version": "result version"},
}


def rows_scored_differently(record: SweepRecord) -> set[str]:
    """Return the rows whose scores were not all measured like the default row's."""
    ways: dict[str, set[tuple[str, ...]]] = {row.row: set() for row in record.rows}
    for trial in record.finished:
        ways[trial["row"]].add(tuple(trial[tag] for tag in SHARED))
    default = ways[record.default]
    alike = len(default) <= 1
    return {row for row, of_row in ways.items() if of_row and default and not (alike and of_row == default)}


def tag_values(record: SweepRecord, tag: str) -> str:
    """Return the values of a tag among the finished trials, sorted and joined."""
    return ", ".join(sorted({trial[tag] for trial in record.finished if trial[tag]}))


def scoring_differences(record: SweepRecord) -> list[str]:
    """Return the shared tags in which finished trials differ, with the number of trials per value."""
    found: list[str] = []
    for tag, name in SHARED.items():
        counts = Counter(trial[tag] for trial in record.finished if trial[tag])
        if len(counts) > 1:
            found.append(f"{name} ({', '.join(f'{value} in {count}' for value, count in counts.items())})")
    return found
