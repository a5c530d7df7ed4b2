"""Where trials and results are on this machine, and at which address copies of them are kept."""

from pathlib import Path

from pipeline.config.schema import PathsConfig
from pipeline.storage.address import is_address, joined

# In the cache, for trials and results at an address.
TRIALS, RESULTS = "trials", "results"
REPORT = "index.html"


def trials_folder(paths: PathsConfig) -> Path:
    """Return the folder in which the trials of this machine work. Their locks are beside them."""
    return _folder(paths.trials, paths.cache, TRIALS)


def results_folder(paths: PathsConfig) -> Path:
    """Return the folder into which results are written."""
    return _folder(paths.results, paths.cache, RESULTS)


def stored_trials(paths: PathsConfig) -> str:
    """Return the address of all trials; '' if they are in a folder."""
    return paths.trials if is_address(paths.trials) else ""


def stored_trial(paths: PathsConfig, key: str) -> str:
    """Return the address of a trial; '' if it is in a folder."""
    return joined(paths.trials, key) if is_address(paths.trials) else ""


def report_of(paths: PathsConfig, sweep: str, task: str) -> str:
    """Return the absolute path of a sweep's report, or its address."""
    if is_address(paths.results):
        return joined(paths.results, sweep, task, REPORT)
    return str((results_folder(paths) / sweep / task / REPORT).absolute())


def _folder(place: str, cache: str, name: str) -> Path:
    return Path(cache) / name if is_address(place) else Path(place)
