"""The paths of a trial on the node that trains it, if its checkpoints are kept at an address."""

from dataclasses import replace
from pathlib import Path

from pipeline.config.places import TRIALS, stored_trials
from pipeline.config.schema import PathsConfig
from pipeline.storage.address import joined, parent_of
from pipeline.storage.node_cache import node_cache
from pipeline.trial.job import TrialJob

# Beside the trials at an address: the decoded data sets.
DATA = ".data"


def at_this_node(job: TrialJob) -> TrialJob:
    """Return a job with the paths of this node: its cache, and in it the trial's folder and the data set.

    A job whose trial is in a folder keeps the folder and the data set, which all nodes share.
    """
    cache = node_cache(job.cache)
    if not job.stored:
        return replace(job, cache=str(cache))
    folder, entry = cache / TRIALS / job.key, Path(job.data_folder)
    data = entry if entry.is_dir() else cache / "data" / entry.name
    return replace(job, cache=str(cache), checkpoint=str(folder / Path(job.checkpoint).name), data_folder=str(data))


def stored_data(job: TrialJob) -> str:
    """Return the address of the job's data set."""
    return joined(parent_of(job.stored), DATA, Path(job.data_folder).name)


def put_data(paths: PathsConfig, entry: Path) -> None:
    """Put a data set of the cache beside the trials at an address, for nodes that lack it. Do nothing for a folder."""
    if address := stored_trials(paths):
        from pipeline.data.staging import put_entry  # as below

        put_entry(entry, joined(address, DATA, entry.name))


def stage_data(job: TrialJob) -> None:
    """Fetch the data set into this node's cache, unless it is there. job: with the paths of this node."""
    if job.stored and not Path(job.data_folder).is_dir():
        from pipeline.data.staging import fetch_entry  # OpenCV, which Ray's workers do not need to import

        fetch_entry(stored_data(job), Path(job.data_folder))
