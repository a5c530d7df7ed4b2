"""just data: download a data set, or make it from the user's copy."""

import shlex
from pathlib import Path

from pipeline.data.catalog import fetch_dataset
from pipeline.data.dataset_cache import SPLITS


def data(name: str, root: Path, source: Path | None, url: str | None) -> int:
    """Bring a data set to root/name and print where it is. A folder that has the four splits needs no preparation."""
    if source and all((source / split).is_dir() for split in SPLITS):
        root_of_data = shlex.quote(f"data.root={source}")
        print(
            f"{source} already has {', '.join(SPLITS)}: nothing to prepare. "
            f"Next: just sweep ablation_negatives task=folder {root_of_data}"
        )
        return 0
    print(fetch_dataset(name, root, source, url))
    return 0
