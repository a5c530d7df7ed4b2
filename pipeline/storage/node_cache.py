"""The folder on a node's own disk for data, features and the trials at an address."""

import os
from pathlib import Path

CACHE = "CUT_ABLATION_CACHE"


def node_cache(cache: str) -> Path:
    """Return the cache folder of this node. cache: that of the machine where the command runs, as an absolute path.

    If this node has no such folder: CUT_ABLATION_CACHE, else cut-ablation in XDG_CACHE_HOME, else in ~/.cache.
    """
    if Path(cache).is_dir():
        return Path(cache)
    if chosen := os.environ.get(CACHE):
        return Path(chosen).absolute()
    of_user = os.environ.get("XDG_CACHE_HOME")
    return (Path(of_user) if of_user else Path.home() / ".cache") / "cut-ablation"
